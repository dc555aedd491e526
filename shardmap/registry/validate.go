package registry

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ProblemsMax is how many problems an [InvalidError] names. A file with that many has the same
// one in each service, and people read the first screen.
const ProblemsMax = 200

// ErrInvalid is wrapped by each [InvalidError].
var ErrInvalid = errors.New("invalid service")

// InvalidError names every wrong field of a service or a file, by position.
type InvalidError struct {
	Problems []string // one line each; no secret among them
	More     int      // problems beyond [ProblemsMax]
}

func (e *InvalidError) Error() string {
	text := strings.Join(e.Problems, "; ")
	if e.More > 0 {
		text += fmt.Sprintf("; and %d more problems", e.More)
	}
	return text
}

func (e *InvalidError) Unwrap() error { return ErrInvalid }

// place is where a problem is; a number is 0 where there is none.
type place struct {
	service int // in the file, from 1
	name    string
	node    int // of the service, from 1
}

func (p place) String() string {
	text := "service"
	switch {
	case p.service > 0 && p.name != "":
		text += fmt.Sprintf(" %d (%s)", p.service, quote(p.name))
	case p.service > 0:
		text += " " + strconv.Itoa(p.service)
	default:
		text += " " + quote(p.name)
	}
	if p.node > 0 {
		text += ", node " + strconv.Itoa(p.node)
	}
	return text
}

// quoteMax bounds what an error quotes.
const quoteMax = 64

func quote(v string) string {
	if len(v) > quoteMax {
		return strconv.Quote(v[:quoteMax]) + "…"
	}
	return strconv.Quote(v)
}

// problems gathers what is wrong.
type problems struct{ InvalidError }

func (p *problems) add(at place, format string, args ...any) {
	if len(p.Problems) == ProblemsMax {
		p.More++
		return
	}
	p.Problems = append(p.Problems, at.String()+": "+fmt.Sprintf(format, args...))
}

func (p *problems) count() int { return len(p.Problems) + p.More }

func (p *problems) err() error {
	if p.count() == 0 {
		return nil
	}
	return &p.InvalidError
}

// Validate returns an [InvalidError] that names every wrong field of a service, or nil. It
// changes nothing: [Service.Complete] comes first. A service that it takes can be written by
// [Service.Append] and read by [Read], and [Instance.Spec] returns a spec for each instance unless
// a secret is still masked.
func (s *Service) Validate() error {
	p := &problems{}
	v := validator{p, place{name: s.Name}}
	s.validateSelf(p, v.at)
	if len(s.Instances) > InstancesMax {
		p.add(v.at, "%d nodes; the limit is %d", len(s.Instances), InstancesMax)
	}
	for n := range s.Instances {
		v.at.node = n + 1
		v.instance(s.Type, &s.Instances[n])
	}
	s.validateWhole(p, place{name: s.Name}, nil)
	return p.err()
}

// validateSelf looks at the service without its instances.
func (s *Service) validateSelf(p *problems, at place) {
	switch {
	case s.Name == "":
		p.add(at, "field name: missing")
	case len(s.Name) > NameMax:
		p.add(at, "field name: %d bytes; the limit is %d", len(s.Name), NameMax)
	case !IsWord(s.Name):
		p.add(at, "field name: %s; want a name of characters that print, without spaces", quote(s.Name))
	}
	switch {
	case s.Type == "":
		p.add(at, "field type: missing; want one of %s", typesText)
	case !slices.Contains(Types, s.Type):
		p.add(at, "field type: %s; want one of %s", quote(s.Type), typesText)
	}
	v := validator{p, at}
	v.settings(s.Settings, &fieldsOfService)
}

// validateWhole looks at the instances together. places says where each stands in the file; nil:
// where it stands in s.
func (s *Service) validateWhole(p *problems, at place, places []int) {
	s.validateIDs(p, at, places)
	if size := s.definitionMax(); !s.Fits() {
		p.add(at, "%d bytes with what the checks will say; the limit is %d", size, ServiceMax)
	}
}

var typesText = strings.Join(Types, ", ")

// IsWord reports whether the name of a service, or the id of an instance, can stand in a line, a
// path and a table without quotes: it has no spaces, and nothing that does not print or that
// changes how a terminal shows the rest, such as a character that turns the direction round.
func IsWord(v string) bool {
	return utf8.ValidString(v) && !strings.ContainsFunc(v, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) })
}

// validator looks at the fields of one place.
type validator struct {
	p  *problems
	at place
}

func (v *validator) instance(kind string, i *Instance) {
	before := v.p.count()
	v.settings(i.Settings, &fieldsOfInstance)
	for _, k := range instanceSettings {
		if slices.Contains(k.wanted, kind) && i.Get(k.key) == "" {
			v.p.add(v.at, "field %s: missing; want %s", k.key, k.want)
		}
	}
	if database := i.Get(keyDatabase); kind == TypeRedis && database != "" && !number(0, redisDatabaseMax)(database) {
		v.p.add(v.at, "field database: %s; want a number from 0 to %d", quote(database), redisDatabaseMax)
	}
	// The two can be compared only if both are numbers.
	if v.p.count() == before && i.Get(keyTimeout) != "" {
		timeout, _ := strconv.ParseUint(i.Get(keyTimeout), 10, 64)
		interval := uint64(IntervalDefault.Milliseconds())
		if text := i.Get(keyInterval); text != "" {
			interval, _ = strconv.ParseUint(text, 10, 64)
		}
		if timeout > interval {
			v.p.add(v.at, "field timeout: %d; want no more than the interval, %d", timeout, interval)
		}
	}
	switch {
	case i.ID == "" && v.p.count() == before: // else that is what it lacks
		v.p.add(v.at, "field id: missing; want one where there is no host and port, no url and no script")
	case len(i.ID) > IDMax:
		v.p.add(v.at, "field id: %d bytes; the limit is %d, so give it a shorter id", len(i.ID), IDMax)
	case !IsWord(i.ID) && v.p.count() == before: // else it was made of a wrong field
		v.p.add(v.at, "field id: %s; want an id of characters that print, without spaces", quote(i.ID))
	}
}

// redisDatabaseMax is far above the 16 of a server that was not told otherwise.
const redisDatabaseMax = 65535

// settings looks at a list that is sorted by key.
func (v *validator) settings(list []Setting, f *fields) {
	if len(list) > SettingsMax {
		v.p.add(v.at, "more than %d fields", SettingsMax)
	}
	for n := range list {
		x := &list[n]
		rule, reserved := f.lookUp(x.Key), f.reserved[x.Key]
		switch {
		case n > 0 && list[n-1].Key == x.Key:
			v.p.add(v.at, "field %s: given twice", quote(x.Key))
		case n > 0 && list[n-1].Key > x.Key:
			v.p.add(v.at, "field %s: not sorted", quote(x.Key))
		case x.Key == "" || len(x.Key) > SettingKeyMax || !utf8.ValidString(x.Key) || strings.ContainsFunc(x.Key, isControl):
			v.p.add(v.at, "field %s: want a name of 1 to %d bytes of UTF-8, without control characters and half surrogate pairs", quote(x.Key), SettingKeyMax)
		case reserved != "":
			v.p.add(v.at, "field %s: %s", x.Key, reserved)
		case len(x.Value) > SettingValueMax:
			v.p.add(v.at, "field %s: %d bytes; the limit is %d", quote(x.Key), len(x.Value), SettingValueMax)
		case !utf8.ValidString(x.Value) || strings.IndexByte(x.Value, 0) >= 0 || x.Raw && !whole(x.Value):
			v.p.add(v.at, "field %s: want UTF-8, without zeros and half surrogate pairs", quote(x.Key))
		case rule == nil:
		case x.Raw && Secret(x.Key): // a secret is not quoted
			v.p.add(v.at, "field %s: want a text", x.Key)
		case x.Raw:
			v.p.add(v.at, "field %s: %s; want %s", x.Key, quote(x.Value), cmp.Or(rule.want, "a text"))
		case x.Value != "" && rule.ok != nil && !rule.ok(x.Value): // an empty one is as good as none
			v.p.add(v.at, "field %s: %s; want %s", x.Key, shownValue(rule, x.Value), rule.want)
		}
	}
}

// shownValue quotes a wrong value, unless it is a URL with a password in it, perhaps: that may be
// why it is refused.
func shownValue(rule *known, value string) string {
	if (rule.key == keyURL || rule.key == SettingWebhook) && strings.Contains(value, "@") {
		return "not shown, as there may be a password in it"
	}
	return quote(value)
}

// validateIDs names instances that would be taken for each other.
func (s *Service) validateIDs(p *problems, at place, places []int) {
	place := func(i int) int {
		if places == nil {
			return i + 1
		}
		return places[i]
	}
	order := make([]int, len(s.Instances))
	for i := range order {
		order[i] = i
	}
	id := func(i int) string { return s.Instances[i].ID }
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(id(a), id(b)) })
	for n := 1; n < len(order); n++ {
		if a, b := order[n-1], order[n]; id(a) == id(b) && id(a) != "" {
			at.node = place(b)
			p.add(at, "field id: node %d has %s too; give each an id of its own", place(a), quote(id(b)))
		}
	}
}

// Fits reports whether the record of s stays within [ServiceMax], whatever the checks will find.
// [Service.Validate] asks this of a definition; [Service.Set] can make it larger, since it puts
// secrets in the place of masks.
func (s *Service) Fits() bool { return s.definitionMax() <= ServiceMax }

// definitionMax returns an upper bound of the bytes of s as a record, without changes: those of
// the texts, with a head for each, and room for the state of each instance.
func (s *Service) definitionMax() int {
	const head = 5 // of an array or a text, at most
	size := 8*head + len(s.Name) + len(s.Type)
	s.eachList(func(_ int, list []Setting) {
		for i := range list {
			size += 3*head + len(list[i].Key) + len(list[i].Value)
			if list[i].hidden() { // it stands masked too
				size += 4*head + len(list[i].Key) + len(Mask)
			}
		}
	})
	for i := range s.Instances {
		size += head + len(s.Instances[i].ID) + stateMax
	}
	return size
}
