package registry

import "bytes"

// Set turns a definition into the record that follows old (nil if there is none), at that version. An
// instance whose ID old has too keeps what the checks found, its maintenance, and each secret
// that s has as [Mask]. It keeps Check too, unless the definition changes how it is checked: then
// Check is the version. State that the definition itself came with is dropped.
//
// A service that had no webhook before has its new one told of later changes only.
func (s *Service) Set(old *Service, version uint64) {
	var former map[string]*Instance
	if old != nil {
		unmask(s.Settings, old.Settings)
		former = make(map[string]*Instance, len(old.Instances))
		for i := range old.Instances {
			former[old.Instances[i].ID] = &old.Instances[i]
		}
	}
	for n := range s.Instances {
		i := &s.Instances[n]
		*i = Instance{ID: i.ID, Settings: i.Settings, Check: version}
		was := former[i.ID]
		if was == nil {
			continue
		}
		unmask(i.Settings, was.Settings)
		i.Status, i.Maintenance, i.Reason, i.Since, i.SinceSlot = was.Status, was.Maintenance, was.Reason, was.Since, was.SinceSlot
		i.Changes, i.Hooked, i.Count = was.Changes, was.Hooked, was.Count
		if sameCheck(s, i, old, was) {
			i.Check = was.Check
		}
		if old.Get(SettingWebhook) == "" {
			i.Hooked = i.Count
		}
	}
}

// SettingAt is the place of a setting: in which list of a service, and where in that list.
type SettingAt struct {
	Instance int // 0: of the service itself; else the place of the instance, from 1
	Setting  int // from 0
}

// Masked returns the settings that are [Mask]. After [Service.Set] these are the ones for which the
// former record had no secret: the mask itself would be taken for one.
func (s *Service) Masked() (list []SettingAt) {
	s.eachList(func(number int, settings []Setting) {
		for n := range settings {
			if settings[n].Value == Mask {
				list = append(list, SettingAt{number, n})
			}
		}
	})
	return list
}

// unmask takes the values of masked secrets from old.
func unmask(list, old []Setting) {
	for i := range list {
		if list[i].Value != Mask {
			continue
		}
		if at, ok := find(old, list[i].Key); ok && old[at].hidden() && old[at].Value != "" {
			list[i] = old[at]
		}
	}
}

// sameCheck reports whether both are checked in the same way. Two that can't be checked at all
// must have the same reason for that.
func sameCheck(s *Service, i *Instance, old *Service, was *Instance) bool {
	now, err := i.Spec(s)
	before, errBefore := was.Spec(old)
	if err != nil || errBefore != nil {
		return err != nil && errBefore != nil && err.Error() == errBefore.Error()
	}
	return bytes.Equal(now.AppendTo(nil), before.AppendTo(nil))
}
