package registry

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"muster/shardmap/pack"
)

// Mask stands for a secret in whatever leaves a node. In a definition it stands for the secret
// that the record has: see [Service.Set].
const Mask = "********"

// secretEnds are the ends of the keys whose values are secrets.
var secretEnds = []string{"password", "passwd", "secret", "token", "_pass"}

// Secret reports whether the value of a setting with this key is a secret: "pass", and each
// key that ends with password, passwd, secret, token or _pass, in whatever case.
func Secret(key string) bool {
	if strings.EqualFold(key, "pass") {
		return true
	}
	return slices.ContainsFunc(secretEnds, func(end string) bool {
		return len(key) >= len(end) && strings.EqualFold(key[len(key)-len(end):], end)
	})
}

// hidden reports whether the setting's value is for nodes alone: it is a secret, or JSON in
// which a field is.
func (s *Setting) hidden() bool {
	return Secret(s.Key) || s.Raw && s.Value != Mask && secretWithin(s.Value)
}

// MaskIn returns text with [Mask] in the place of each secret of the settings. A program or a server
// that has a secret may say it as it is, one line of it, or quoted; and of JSON, what the secret
// fields hold.
func MaskIn(text string, lists ...[]Setting) string {
	var secrets []string // in their forms
	add := func(secret string) {
		for line := range strings.Lines(secret) {
			if line = strings.TrimSpace(line); line != "" {
				quoted := strconv.Quote(line)
				secrets = append(secrets, line, quoted[1:len(quoted)-1])
			}
		}
	}
	for _, list := range lists {
		for i := range list {
			switch x := &list[i]; {
			case x.Raw:
				within := scanner{text: x.Value}
				within.secrets(Secret(x.Key), add)
			case Secret(x.Key):
				add(x.Value)
			}
		}
	}
	if !slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(text, s) }) {
		return text // mostly
	}
	// The longest first: one secret may be part of another.
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	// In one pass: a secret may also be part of a mask.
	var pairs []string
	for _, secret := range secrets {
		pairs = append(pairs, secret, Mask)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// Redact puts [Mask] in the place of each secret.
func (s *Service) Redact() {
	s.eachList(func(_ int, list []Setting) {
		for i := range list {
			if list[i].hidden() && list[i].Value != "" {
				list[i].Value = Mask
			}
		}
	})
}

// HasSecrets reports whether there is a secret in it, other than [Mask] in the place of one.
func (s *Service) HasSecrets() (has bool) {
	s.eachList(func(_ int, list []Setting) {
		has = has || slices.ContainsFunc(list, func(x Setting) bool { return x.hidden() && x.Value != "" && x.Value != Mask })
	})
	return has
}

// eachList calls f with the settings of the service, which are number 0, and of its
// instances, from 1.
func (s *Service) eachList(f func(number int, list []Setting)) {
	f(0, s.Settings)
	for i := range s.Instances {
		f(i+1, s.Instances[i].Settings)
	}
}

// Public returns the bytes of a record without its secrets: what [Service.Redact] would leave
// of it. Answers and rows of watches contain nothing else. It looks at no setting: a record has
// its secrets apart from everything else (codec.go), so a new kind of setting can't slip through.
func Public(value []byte) ([]byte, error) {
	r := pack.NewReader(value)
	r.ArrayLen(parts)
	for range parts - 1 {
		r.Skip()
	}
	end := r.Offset()
	r.Skip()
	if err := r.Done(); err != nil {
		return nil, bad(err)
	}
	out := make([]byte, end, end+1)
	copy(out, value)
	return pack.AppendArray(out, 0), nil
}
