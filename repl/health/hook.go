package health

import (
	"slices"
	"time"

	"muster/shardmap/registry"
)

const (
	// hookLate is when a webhook without an end counts as failed.
	hookLate = 30 * time.Second
	// hookPauseMin and hookPauseMax bound the time until a webhook is tried again, which
	// doubles with each failure.
	hookPauseMin = time.Second
	hookPauseMax = 5 * time.Minute
	// hookFor is for how long after a change its webhook is tried, by the time of the slot.
	hookFor = time.Hour
)

const settingWebhook = "webhook"

// hooked is a change that the webhook was told of, or that was given up. The record does not
// say so yet.
type hooked struct {
	instance string
	count    uint64
}

// tell has the webhook of a service told of the next change, if there is one: each
// instance's changes in their order, one at a time for each service.
func (a *Assigner) tell(now time.Duration, l *led, s *service) {
	if s.row.Service.Get(settingWebhook) == "" {
		return
	}
	for _, c := range s.checks {
		if s.hook != 0 && a.flights[s.hook].hook.Instance == c.instance.ID {
			continue
		}
		if first := c.oldest(); first > c.behind()+1 { // those before are no longer in the record
			a.lose(s, c, first-1)
		}
	}
	if s.hook != 0 {
		return
	}
	for _, c := range s.checks {
		h := s.next(c)
		for ; h != nil && s.since(now, h.slot) > hookFor; h = s.next(c) {
			a.lose(s, c, h.Count)
			s.hookNext = pause{}
		}
		if h == nil {
			continue
		}
		if s.hookNext.until > now {
			s.due = min(s.due, s.hookNext.until)
			return
		}
		if a.hooks == HooksMax {
			a.blocked = append(a.blocked, blocked{l, s})
			return
		}
		a.counts.Hooks++
		s.hook = a.launch(now, Action{Kind: ActHook, Hook: h}, &flight{led: l, of: s, hook: h}, hookLate)
		return
	}
}

// behind returns the count of the last change of an instance that the webhook was told of, or is
// not to be told of any more.
func (c *check) behind() uint64 { return max(c.instance.Hooked, c.hookedTo) }

// awaits reports whether an instance has a change that the webhook is still to be told of.
func (c *check) awaits() bool {
	return c.service.row.Service.Get(settingWebhook) != "" && c.behind() < c.instance.Count
}

// oldest returns the count of the oldest change that the record holds of an instance; if it holds
// none, that of the next one.
func (c *check) oldest() uint64 { return c.instance.Count - uint64(len(c.instance.Changes)) + 1 }

// lose gives up the changes of an instance up to a count, which were not told.
func (a *Assigner) lose(s *service, c *check, to uint64) {
	from := c.behind()
	a.counts.HooksLost += to - from
	s.over(c, to)
	if !c.lost {
		c.lost = true
		a.note(Action{Kind: ActLost, Hook: &Hook{Service: s.row.Service, Version: s.row.Version, Instance: c.instance.ID, Count: from + 1}})
	}
}

// Missed is a service whose webhook was not told of some changes.
type Missed struct {
	Service   string
	Instances int  // of which the last change that was over was given up
	Full      bool // the record had no room for changes, else the receiver did not take them in time
}

// Missed returns the services whose webhooks miss changes since they were told of one the last time,
// by name within a group.
func (a *Assigner) Missed() (list []Missed) {
	for _, l := range a.leads {
		for _, s := range l.order {
			if s.row.Service.Get(settingWebhook) == "" {
				continue
			}
			m := Missed{Service: s.row.Name}
			for _, c := range s.checks {
				if c.lost {
					m.Instances++
					m.Full = m.Full || len(c.instance.Changes) < int(min(c.instance.Count, registry.ChangesMax))
				}
			}
			if m.Instances > 0 {
				list = append(list, m)
			}
		}
	}
	return list
}

// leaves counts the changes that an instance takes with it which is no longer in the record.
func (a *Assigner) leaves(s *service, c *check) {
	told := c.behind()
	if s.hook != 0 && a.flights[s.hook].hook.Instance == c.instance.ID {
		told++ // how that one ends will show
	}
	if c.awaits() && told < c.instance.Count {
		a.counts.HooksLost += c.instance.Count - told
		a.note(Action{Kind: ActLost, Hook: &Hook{Service: s.row.Service, Version: s.row.Version, Instance: c.instance.ID, Count: told + 1}})
	}
}

// next returns the next change of an instance that the webhook is to be told of, or nil.
func (s *service) next(c *check) *Hook {
	inst := c.instance
	count := c.behind() + 1
	if count > inst.Count {
		return nil
	}
	i := int(count - c.oldest())
	h := &Hook{Service: s.row.Service, Version: s.row.Version, Instance: inst.ID, To: inst.Changes[i].To, Reason: inst.Changes[i].Reason, At: inst.Changes[i].At, slot: inst.Changes[i].Slot, Count: count}
	if i > 0 {
		h.From = inst.Changes[i-1].To
	} else {
		// An instance is unknown until its first change.
		h.From, h.NoFrom = registry.Unknown, count > 1
	}
	return h
}

// over notes that the webhook no longer needs to be told of a change.
func (s *service) over(c *check, count uint64) {
	c.hookedTo = count
	s.hooked = slices.DeleteFunc(s.hooked, func(h hooked) bool { return h.instance == c.instance.ID })
	s.hooked = append(s.hooked, hooked{c.instance.ID, count})
}

// reportedHook notes that the record knows which change the webhook was told of.
func (s *service) reportedHook(instance string, count uint64) {
	s.hooked = slices.DeleteFunc(s.hooked, func(h hooked) bool { return h.instance == instance && h.count <= count })
}

// told handles how a webhook ended.
func (a *Assigner) told(now time.Duration, f *flight, err error) {
	s := f.of
	a.unblock(now)
	c := s.byID[f.hook.Instance]
	if err != nil {
		if c == nil { // it has left the record meanwhile, and is not told again
			a.counts.HooksLost++
		}
		s.hookNext.failed(now, hookPauseMin, hookPauseMax)
		s.look(f.led, s.hookNext.until)
		return
	}
	s.hookNext = pause{}
	if c != nil && f.hook.Count <= c.instance.Count {
		c.lost = false
		s.over(c, f.hook.Count)
	}
	s.look(f.led, now)
}
