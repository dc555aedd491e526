package registry

import (
	"bytes"
	"encoding/json"
	"time"
)

// MarshalJSON writes the service as commands show it, without secrets:
//
//	{"name":…,"type":…,settings…,"nodes":[instance …]}
//
// Settings are strings, except for those that were not in the file.
func (s *Service) MarshalJSON() ([]byte, error) {
	o := object{}
	o.text(keyName, s.Name)
	o.text(keyType, s.Type)
	o.settings(s.Settings)
	o.key(keyNodes)
	o.WriteByte('[')
	for i := range s.Instances {
		if i > 0 {
			o.WriteByte(',')
		}
		o.instance(&s.Instances[i])
	}
	o.WriteByte(']')
	return o.end()
}

// MarshalJSON writes the instance as it stands in its service:
//
//	{"id":…,settings…,"status":…,"since":…,"reason":…,"maintenance":true,"checked_by":…,"changes":[{"at":…,"to":…,"reason":…} …]}
//
// Times are RFC 3339, in UTC. Whatever is empty is left out, except for the status.
func (i *Instance) MarshalJSON() ([]byte, error) {
	o := object{}
	o.instance(i)
	return o.Bytes(), o.err
}

func (o *object) instance(i *Instance) {
	inner := object{}
	inner.text(keyID, i.ID)
	inner.settings(i.Settings)
	inner.text(keyStatus, i.Shown())
	if i.Since != 0 {
		inner.text(keySince, timeText(i.Since))
	}
	if i.Reason != "" {
		inner.text(keyReason, i.Reason)
	}
	if i.Maintenance {
		inner.value(keyMaintenance, []byte("true"))
	}
	// A setting of that name is the user's, and comes first.
	if _, set := find(i.Settings, ShownCheckedBy); i.CheckedBy != "" && !set {
		inner.text(ShownCheckedBy, i.CheckedBy)
	}
	if len(i.Changes) > 0 {
		inner.key(keyChanges)
		inner.WriteByte('[')
		for n, c := range i.Changes {
			if n > 0 {
				inner.WriteByte(',')
			}
			change := object{}
			change.text("at", timeText(c.At))
			change.text("to", c.To.String())
			change.text(keyReason, c.Reason)
			inner.nested(&change)
		}
		inner.WriteByte(']')
	}
	o.nested(&inner)
}

func timeText(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano) }

// object writes a JSON object. It keeps the first error.
type object struct {
	bytes.Buffer
	err    error
	opened bool
}

func (o *object) key(key string) {
	if o.opened {
		o.WriteByte(',')
	} else {
		o.WriteByte('{')
	}
	o.opened = true
	o.string(key)
	o.WriteByte(':')
}

func (o *object) text(key, value string) {
	o.key(key)
	o.string(value)
}

func (o *object) value(key string, value []byte) {
	o.key(key)
	o.Write(value)
}

// string writes a text as JSON. Characters like & stay as they are, since people read URLs here.
func (o *object) string(s string) {
	e := json.NewEncoder(&o.Buffer)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil && o.err == nil {
		o.err = err
	}
	o.Truncate(o.Len() - 1) // the encoder ends lines
}

func (o *object) settings(list []Setting) {
	for i := range list {
		switch x := &list[i]; {
		case x.Value != "" && x.hidden(), x.Value == Mask:
			o.text(x.Key, Mask)
		case x.Raw:
			o.value(x.Key, []byte(x.Value))
		default:
			o.text(x.Key, x.Value)
		}
	}
}

func (o *object) nested(inner *object) {
	b, err := inner.end()
	if err != nil && o.err == nil {
		o.err = err
	}
	o.Write(b)
}

func (o *object) end() ([]byte, error) {
	if !o.opened {
		o.WriteByte('{')
	}
	o.WriteByte('}')
	return o.Bytes(), o.err
}
