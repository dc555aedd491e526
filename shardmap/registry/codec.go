package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"

	"muster/shardmap/pack"
)

// The bytes of a service, which are the value of its record and its definition in a command:
//
//	[1, name, type, settings, [instance …], secrets]
//	settings  [[key, value] …]      by rising key; [key, value, true] is a Raw one
//	instance  [id, settings, check, status, maintenance, reason, since, since slot,
//	           [[at, slot, to, reason] …], hooked, count]
//	secrets   [[of, key, value] …]  of: 0 the service, else the place of the instance, from 1;
//	                                by rising (of, key)
//
// In settings a secret stands as Mask. So what may be shown is everything but the last part,
// and no list of what is secret is needed to tell: see Public. A masked secret without a row in
// secrets stays masked.
const (
	format        = 1
	parts         = 6
	instanceParts = 11
	changeParts   = 4
	secretParts   = 3

	instanceLeast = 12 // bytes that an instance has at least
	settingLeast  = 4  // and a setting
	changeLeast   = 5  // and a change
)

// ErrService is wrapped by errors about bytes that are no service.
var ErrService = errors.New("no service")

func bad(err error) error { return fmt.Errorf("%w: %w", ErrService, err) }

// Append appends the bytes of s, with its secrets; they are at most [ServiceMax] for a service
// that [Service.Validate] took. Where there would be more, the oldest changes are left out, of
// the instances with the most changes first: at first only those that the webhook was told of,
// and then the others too.
func (s *Service) Append(b []byte) []byte {
	from := len(b)
	if b = s.append(b, 0); len(b)-from <= ServiceMax {
		return b
	}
	// This is rare: it takes more than 50 instances that all have long reasons. So it may cost
	// some more attempts.
	return s.append(b[:from], sort.Search(trimMost, func(trim int) bool {
		b = s.append(b[:from], trim)
		return len(b)-from <= ServiceMax
	}))
}

// trimMost is the trim with which no change is left. A trim of t up to ChangesMax leaves each
// instance ChangesMax-t changes, or those that the webhook was not told of and the one before
// them, which says what they began from. Above that it leaves trimMost-t changes at most.
const trimMost = 2 * ChangesMax

// kept returns the changes that a trim leaves.
func (i *Instance) kept(trim int) []Change {
	n := len(i.Changes)
	// A record without a webhook has told none of its changes.
	needed := int(min(i.Count-i.Hooked, ChangesMax-1)) + 1
	keep := max(ChangesMax-trim, needed)
	if trim > ChangesMax {
		keep = min(needed, trimMost-trim)
	}
	return i.Changes[max(0, n-keep):]
}

func (s *Service) append(b []byte, trim int) []byte {
	b = pack.AppendArray(b, parts)
	b = pack.AppendUint(b, format)
	b = pack.AppendString(b, s.Name)
	b = pack.AppendString(b, s.Type)
	b = appendSettings(b, s.Settings)
	b = pack.AppendArray(b, len(s.Instances))
	for i := range s.Instances {
		b = s.Instances[i].append(b, trim)
	}
	return s.appendSecrets(b)
}

func appendSettings(b []byte, list []Setting) []byte {
	b = pack.AppendArray(b, len(list))
	for i := range list {
		value := list[i].Value
		if value != "" && list[i].hidden() {
			value = Mask
		}
		if list[i].Raw {
			b = pack.AppendArray(b, 3)
		} else {
			b = pack.AppendArray(b, 2)
		}
		b = pack.AppendString(b, list[i].Key)
		b = pack.AppendString(b, value)
		if list[i].Raw {
			b = pack.AppendBool(b, true)
		}
	}
	return b
}

func (i *Instance) append(b []byte, trim int) []byte {
	b = pack.AppendArray(b, instanceParts)
	b = pack.AppendString(b, i.ID)
	b = appendSettings(b, i.Settings)
	b = pack.AppendUint(b, i.Check)
	b = pack.AppendUint(b, uint64(i.Status))
	b = pack.AppendBool(b, i.Maintenance)
	b = pack.AppendString(b, i.Reason)
	b = pack.AppendInt(b, i.Since)
	b = pack.AppendUint(b, i.SinceSlot)
	kept := i.kept(trim)
	b = pack.AppendArray(b, len(kept))
	for _, c := range kept {
		b = pack.AppendArray(b, changeParts)
		b = pack.AppendInt(b, c.At)
		b = pack.AppendUint(b, c.Slot)
		b = pack.AppendUint(b, uint64(c.To))
		b = pack.AppendString(b, c.Reason)
	}
	b = pack.AppendUint(b, i.Hooked)
	return pack.AppendUint(b, i.Count)
}

func (s *Service) appendSecrets(b []byte) []byte {
	known := func(x *Setting) bool { return x.Value != "" && x.Value != Mask && x.hidden() }
	rows := 0
	s.eachList(func(_ int, list []Setting) {
		for i := range list {
			if known(&list[i]) {
				rows++
			}
		}
	})
	b = pack.AppendArray(b, rows)
	s.eachList(func(number int, list []Setting) {
		for i := range list {
			if known(&list[i]) {
				b = pack.AppendArray(b, secretParts)
				b = pack.AppendUint(b, uint64(number))
				b = pack.AppendString(b, list[i].Key)
				b = pack.AppendString(b, list[i].Value)
			}
		}
	})
	return b
}

// Read reads the bytes of a service, whole or [Public]. It trusts nothing: what is beyond a
// limit, not in order, or a secret in clear is refused, with an [ErrService]. It does not ask
// whether the settings make sense, as [Service.Validate] does. The service does not alias b.
func Read(b []byte) (*Service, error) {
	if len(b) > ServiceMax {
		return nil, bad(fmt.Errorf("%d bytes; the limit is %d", len(b), ServiceMax))
	}
	// One copy of the bytes has all texts of the service in it.
	d := decoder{Reader: pack.NewReader(b), text: string(b)}
	d.ArrayLen(parts)
	if v := d.Uint(); v != format && d.Err() == nil {
		d.Fail(fmt.Sprintf("format %d, want %d", v, format))
	}
	s := &Service{Name: d.string("name", NameMax), Type: d.string("type", NameMax), Settings: d.settings()}
	n := d.list("instances", InstancesMax, instanceLeast)
	if n > 0 {
		s.Instances = make([]Instance, n)
	}
	for i := range s.Instances {
		d.instance(&s.Instances[i])
	}
	d.secrets(s)
	if err := d.Done(); err != nil {
		return nil, bad(err)
	}
	return s, nil
}

// decoder reads the parts of a service. It keeps the first error, as its Reader does.
type decoder struct {
	pack.Reader
	text string // the bytes that are read
}

func (d *decoder) string(what string, limit int) string {
	n := len(d.Bytes())
	if n > limit {
		d.Fail(fmt.Sprintf("a %s of %d bytes; the limit is %d", what, n, limit))
	}
	if d.Err() != nil {
		return ""
	}
	return d.text[d.Offset()-n : d.Offset()]
}

// list takes the head of an array whose elements have at least so many bytes each, and refuses
// one that can't be whole: memory is taken only for what can follow.
func (d *decoder) list(what string, limit, least int) int {
	n := d.Array()
	if n > limit || n > len(d.Rest())/least {
		if d.Err() == nil {
			d.Fail(fmt.Sprintf("%d %s; the limit is %d, and %d bytes are left", n, what, limit, len(d.Rest())))
		}
		return 0
	}
	return n
}

func (d *decoder) settings() []Setting {
	n := d.list("settings", SettingsMax, settingLeast)
	if n == 0 {
		return nil
	}
	list := make([]Setting, n)
	for i := range list {
		x := &list[i]
		size := d.Array()
		if size < 2 || size > 3 {
			d.Fail("a setting has 2 parts, or 3")
		}
		x.Key = d.string("key", SettingKeyMax)
		x.Value = d.string("value", SettingValueMax)
		if size == 3 {
			if x.Raw = d.Bool(); !x.Raw {
				d.Fail("a setting says that it is not raw")
			}
		}
		switch {
		case d.Err() != nil:
			return nil
		case x.Key == "" || i > 0 && x.Key <= list[i-1].Key:
			d.Fail("settings are not in order")
		case x.Value == Mask || x.Value == "" && !x.Raw:
		case x.Raw && !json.Valid([]byte(x.Value)):
			d.Fail("a raw setting is not JSON")
		case x.hidden():
			d.Fail("a secret is in clear")
		}
	}
	return list
}

func (d *decoder) status() Status { return Status(d.UintMax(uint64(len(statusNames) - 1))) }

func (d *decoder) instance(i *Instance) {
	d.ArrayLen(instanceParts)
	*i = Instance{ID: d.string("id", IDMax), Settings: d.settings(), Check: d.Uint(), Status: d.status(), Maintenance: d.Bool(),
		Reason: d.string("reason", ReasonMax), Since: d.Int(), SinceSlot: d.Uint()}
	n := d.list("changes", ChangesMax, changeLeast)
	if n > 0 {
		i.Changes = make([]Change, n)
	}
	for c := range i.Changes {
		d.ArrayLen(changeParts)
		i.Changes[c] = Change{At: d.Int(), Slot: d.Uint(), To: d.status(), Reason: d.string("reason", ReasonMax)}
	}
	i.Hooked, i.Count = d.Uint(), d.Uint()
	if i.Hooked > i.Count || uint64(len(i.Changes)) > i.Count {
		d.Fail("more changes than there have ever been")
	}
}

// secrets fills in what stands masked in the settings of s.
func (d *decoder) secrets(s *Service) {
	of, key := 0, ""
	for range d.list("secrets", (1+InstancesMax)*SettingsMax, secretParts+1) {
		d.ArrayLen(secretParts)
		row := Setting{}
		number := int(d.UintMax(uint64(len(s.Instances))))
		row.Key, row.Value = d.string("key", SettingKeyMax), d.string("value", SettingValueMax)
		if d.Err() != nil {
			return
		}
		if number < of || number == of && row.Key <= key {
			d.Fail("secrets are not in order")
			return
		}
		of, key = number, row.Key
		list := s.Settings
		if number > 0 {
			list = s.Instances[number-1].Settings
		}
		at, ok := find(list, row.Key)
		if !ok || list[at].Value != Mask {
			d.Fail("a secret is of no setting")
			return
		}
		row.Raw = list[at].Raw
		if row.Value == "" || row.Value == Mask || row.Raw && !json.Valid([]byte(row.Value)) || !row.hidden() {
			d.Fail("a secret that is none")
			return
		}
		list[at] = row
	}
}
