package shardmap

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"muster/shardmap/pack"
)

// A setting of the cluster says which keys keep their versions, but what an entry does must not follow
// from the table, which each replica has at another moment. So the leader of each group puts the rules
// into the group's log whenever they differ from those that the group has, as it does with a level
// (raise.go), and a group follows its own: they are part of its state.

// Limits of the rules.
const (
	VersionRulesMax  = 16
	VersionPrefixMax = 256              // bytes of a rule's prefix
	VersionAge       = 720 * time.Hour  // of a rule that names none
	VersionAgeMin    = time.Minute      // the least that a rule may name
	VersionAgeMax    = 8760 * time.Hour // the most
	versionRuleMin   = 1 + 1 + 1 + 1    // bytes of a rule in a command, at least
	versionRuleWant  = "PREFIX=VERSIONS or PREFIX=VERSIONS/AGE"
)

// VersionRule says that the keys with a prefix keep their last versions. Where several prefixes fit,
// the longest counts.
type VersionRule struct {
	Prefix []byte // empty: all keys; at most [VersionPrefixMax] bytes
	Most   int    // versions of one key, the newest among them: 1 to [VersionsMax]
	// Age is how long a version is kept after it was replaced, in whole seconds of the group's time.
	Age time.Duration
}

// VersionRules are rules by prefix, none of which is there twice.
type VersionRules []VersionRule

// ReadVersionRules reads the setting history: rules with a space between them, such as
//
//	conf/=20/720h app/=5
//
// A prefix has a space, "=", "%" and whatever does not print as % and two hexadecimal digits. "off", or
// no text, is no rule. An error names the rule and what would be right.
func ReadVersionRules(text string) (VersionRules, error) {
	if text == "" || text == "off" {
		return nil, nil
	}
	parts := strings.Fields(text)
	switch {
	case len(parts) > VersionRulesMax:
		return nil, fmt.Errorf("%d rules; want %d at most", len(parts), VersionRulesMax)
	case len(parts) == 0:
		return nil, errors.New("no rule; want off, or " + versionRuleWant)
	}
	rules := make(VersionRules, 0, len(parts))
	for _, part := range parts {
		r, err := readVersionRule(part)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", describeText(part), err)
		}
		rules = append(rules, r)
	}
	slices.SortFunc(rules, func(a, b VersionRule) int { return bytes.Compare(a.Prefix, b.Prefix) })
	for i := range rules[1:] {
		if bytes.Equal(rules[i].Prefix, rules[i+1].Prefix) {
			return nil, fmt.Errorf("two rules for prefix %s; want one", ShowKey(rules[i].Prefix))
		}
	}
	return rules, nil
}

func readVersionRule(text string) (r VersionRule, err error) {
	prefix, rest, ok := strings.Cut(text, "=")
	if !ok || strings.Contains(rest, "=") {
		return r, errors.New("want " + versionRuleWant + `, with "=" in a prefix as %3d`)
	}
	if r.Prefix, err = unescapePrefix(prefix); err != nil {
		return r, err
	}
	if n := len(r.Prefix); n > VersionPrefixMax {
		return r, fmt.Errorf("a prefix of %d bytes; want %d at most", n, VersionPrefixMax)
	}
	most, age, aged := strings.Cut(rest, "/")
	n, err := readCount(most)
	if err != nil || n < 1 || n > VersionsMax {
		return r, fmt.Errorf("%s versions; want 1 to %d", describeText(most), VersionsMax)
	}
	r.Most, r.Age = int(n), VersionAge
	if aged {
		d, err := readDuration(age)
		if err != nil || d < int64(VersionAgeMin) || d > int64(VersionAgeMax) {
			return r, fmt.Errorf("age %s; want 1m to 8760h, a whole number with s, m or h", describeText(age))
		}
		r.Age = time.Duration(d)
	}
	return r, nil
}

// unescapePrefix reads a prefix as the setting has it.
func unescapePrefix(text string) ([]byte, error) {
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b = append(b, text[i])
			continue
		}
		if i+3 > len(text) {
			return nil, errors.New("% without two hexadecimal digits; want %25 for %")
		}
		c, err := strconv.ParseUint(text[i+1:i+3], 16, 8)
		if err != nil {
			return nil, fmt.Errorf("%s; want %% with two hexadecimal digits", describeText(text[i:i+3]))
		}
		b, i = append(b, byte(c)), i+2
	}
	return b, nil
}

// String returns the rules as [ReadVersionRules] reads them.
func (l VersionRules) String() string {
	if len(l) == 0 {
		return "off"
	}
	var b strings.Builder
	for i := range l {
		if i > 0 {
			b.WriteByte(' ')
		}
		for _, c := range l[i].Prefix {
			if c <= ' ' || c >= 0x7f || c == '=' || c == '%' {
				fmt.Fprintf(&b, "%%%02x", c)
			} else {
				b.WriteByte(c)
			}
		}
		fmt.Fprintf(&b, "=%d/%s", l[i].Most, ageText(l[i].Age))
	}
	return b.String()
}

// ageText is a whole number of seconds in the largest unit in which it is whole.
func ageText(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// Equal reports whether both are the same rules.
func (l VersionRules) Equal(o VersionRules) bool {
	return slices.EqualFunc(l, o, func(a, b VersionRule) bool {
		return bytes.Equal(a.Prefix, b.Prefix) && a.Most == b.Most && a.Age == b.Age
	})
}

// Of returns the rule for a key; nil if there is none.
func (l VersionRules) Of(key []byte) *VersionRule {
	// Of the prefixes of a key the longer is the greater, so the last that fits is the longest.
	for i := len(l) - 1; i >= 0; i-- {
		if bytes.HasPrefix(key, l[i].Prefix) {
			return &l[i]
		}
	}
	return nil
}

const (
	versionsFields    = 1
	versionRuleFields = 3
)

// VersionsCommand returns the command that gives a group its rules. Its slot, which every command has,
// means nothing. The body, which is its only item, is a msgpack array, with the age in seconds:
//
//	[[[prefix, most, age], …]]
func VersionsCommand(rules VersionRules) Command {
	return Command{Kind: CommandVersions, Items: [][]byte{rules.append(nil)}}
}

func (l VersionRules) append(b []byte) []byte {
	b = pack.AppendArray(b, versionsFields)
	b = pack.AppendArray(b, len(l))
	for i := range l {
		b = pack.AppendArray(b, versionRuleFields)
		b = pack.AppendBytes(b, l[i].Prefix)
		b = pack.AppendUint(b, uint64(l[i].Most))
		b = pack.AppendUint(b, uint64(l[i].Age/time.Second))
	}
	return b
}

// ReadVersionsCommand reads the rules of a command versions. They are the caller's own.
func ReadVersionsCommand(c *Command) (VersionRules, error) {
	if c.Kind != CommandVersions || len(c.Items) != 1 {
		return nil, fmt.Errorf("%w: %s with %d items has no rules", ErrCommand, c.Kind, len(c.Items))
	}
	return readVersionRules(c.Items[0])
}

// readVersionRules reads rules as a command has them, which a state has, too.
func readVersionRules(b []byte) (VersionRules, error) {
	r := &tableReader{Reader: pack.NewReader(b)}
	r.fields("versions", versionsFields)
	rules := VersionRules(list(r, versionRuleMin, func() (v VersionRule) {
		r.fields("rule", versionRuleFields)
		v.Prefix = bytes.Clone(r.Bytes())
		v.Most = int(r.UintMax(math.MaxUint16))
		v.Age = time.Duration(r.UintMax(math.MaxUint32)) * time.Second
		return v
	}))
	if err := r.err(); err != nil {
		return nil, err
	}
	if len(rules) > VersionRulesMax {
		return nil, fmt.Errorf("%w: %d rules for versions; want %d at most", ErrCommand, len(rules), VersionRulesMax)
	}
	for i := range rules {
		v := &rules[i]
		switch {
		case len(v.Prefix) > VersionPrefixMax || v.Most < 1 || v.Most > VersionsMax || v.Age < VersionAgeMin || v.Age > VersionAgeMax:
			return nil, fmt.Errorf("%w: a rule for a prefix of %d bytes keeps %d versions for %s; want at most %d, 1 to %d, and %s to %s",
				ErrCommand, len(v.Prefix), v.Most, v.Age, VersionPrefixMax, VersionsMax, ageText(VersionAgeMin), ageText(VersionAgeMax))
		case i > 0 && bytes.Compare(rules[i-1].Prefix, v.Prefix) >= 0:
			return nil, fmt.Errorf("%w: the rule for prefix %s is out of order", ErrCommand, ShowKey(v.Prefix))
		}
	}
	return rules, nil
}

func describeVersions(c *Command) (string, error) {
	rules, err := ReadVersionsCommand(c)
	return rules.String(), err
}

// keeping is what a map knows of which keys keep versions. The goroutine that applies owns it.
type keeping struct {
	// some is false only if there is neither a rule nor a record of a version anywhere in the map, so
	// that a change need not look. It is no state: on another replica it may be true.
	some  bool
	rules VersionRules
	sum   uint64 // Invariant: of rules, for [Walk]
	// name and value are scratch, to make records in.
	name, value []byte
}

// rule returns the rule for a key; nil if there is none.
func (k *keeping) rule(key []byte) *VersionRule { return k.rules.Of(key) }

// follow makes rules those of the map.
func (k *keeping) follow(rules VersionRules) {
	k.rules, k.sum = rules, rules.hash()
	k.some = k.some || len(rules) > 0
}

// versionsIn reports whether there is a version of a key anywhere in the map. It looks at each slot.
func versionsIn(m *Map) bool {
	for _, i := range m.imports {
		if hasVersions(i.state) {
			return true
		}
	}
	for s := range Slot(Slots) {
		if st := m.held(s); st != nil && hasVersions(st) {
			return true
		}
	}
	return false
}

// hash sums the rules up; 0 if there are none.
func (l VersionRules) hash() uint64 {
	if len(l) == 0 {
		return 0
	}
	return cmp.Or(xxhash.Sum64(l.append(nil)), 1)
}

// VersionRulesOf returns the rules that entries have given to the group. The goroutine that applies
// calls it, and changes nothing of it.
func VersionRulesOf(m *Map) VersionRules { return m.keeping.rules }

// setVersions carries out the command versions. A group that was not raised to the level yet stays
// without rules: its snapshots have no place for them.
func setVersions(m *Map, _ entryAt, c *Command) (Status, error) {
	rules, err := ReadVersionsCommand(c)
	if err != nil {
		return 0, err
	}
	if m.history.raised < RangesLevel || rules.Equal(m.keeping.rules) {
		return StatusMarked, nil
	}
	m.keeping.follow(rules)
	return StatusApplied, nil
}
