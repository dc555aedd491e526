package registry

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// FileMax is how large a file of services may be, in bytes.
const FileMax = 16 << 20

// instanceTextLeast is what an instance takes in a file at least, as in {"id":"a"}.
const instanceTextLeast = 10

// ParseFile reads a file of services: dister's format,
//
//	[{"name": …, "type": …, "node": [{"host": …, "port": …, …} …]} …]
//
// or one such object. Beside name, type and node, which may be called nodes too, a service has
// settings of its own. Values are texts; a known field may also be a number or a boolean, and tags
// a list of texts. Unknown fields are kept as they are. What [Service.MarshalJSON] shows of an
// instance's state is left out, so that what was shown can be edited and set.
//
// The services are complete and valid, and no two have the same name. If anything is wrong, there
// are none, and the error names every wrong field by service and node, both counted from 1. It is
// an [InvalidError] unless the file is no JSON at all.
func ParseFile(b []byte) ([]Service, error) {
	if len(b) > FileMax {
		return nil, fmt.Errorf("a file of %d bytes; the limit is %d", len(b), FileMax)
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) // the mark that some editors begin UTF-8 with
	if depthOf(b) > fileDepthMax {
		return nil, fmt.Errorf("more than %d lists and objects within each other", fileDepthMax)
	}
	if !json.Valid(b) {
		return nil, syntax(b)
	}
	f := &file{scanner: scanner{text: string(b)}}
	switch f.next() {
	case '{':
		f.service()
	case '[':
		f.enter()
		for f.more() {
			f.service()
		}
	default:
		return nil, errors.New("want a list of services, as in [{\"name\":…,\"type\":…,\"node\":[…]}]")
	}
	f.validateNames()
	if err := f.wrong.err(); err != nil {
		return nil, err
	}
	return f.services, nil
}

// fileDepthMax is how deep lists and objects may be nested. Package encoding/json has a bound
// too, but one far too high for what each level costs.
const fileDepthMax = 64

// depthOf returns how deep the brackets of b are nested. If b is no JSON, the number is good only
// for comparing it with the limit.
func depthOf(b []byte) (deepest int) {
	depth, inText := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			inText = !inText
		case inText && c == '\\':
			i++
		case inText:
		case c == '[' || c == '{':
			depth++
			deepest = max(deepest, depth)
		case c == ']' || c == '}':
			depth--
		}
	}
	return deepest
}

// syntax says where a file stops being JSON.
func syntax(b []byte) error {
	var at *json.SyntaxError
	var value json.RawMessage
	err := json.Unmarshal(b, &value)
	if !errors.As(err, &at) {
		return fmt.Errorf("not JSON: %w", err)
	}
	before := b[:min(int64(len(b)), at.Offset)]
	line := 1 + bytes.Count(before, []byte("\n"))
	return fmt.Errorf("not JSON: line %d, column %d: %w", line, len(before)-1-bytes.LastIndexByte(before, '\n'), err)
}

// file is a file that is being read. Once anything is wrong it keeps no more services: they
// would only take memory.
type file struct {
	scanner
	wrong    problems
	number   int // of services so far
	services []Service
	list     []Setting // of the object that is being read
	names    []place   // of all services that have a name
	places   []int     // in the file, of the instances of the service that is being read
}

// service reads the next service of the file.
func (f *file) service() {
	f.number++
	at := place{service: f.number}
	if f.next() != '{' {
		f.wrong.add(at, "want an object, found %s", quote(f.value()))
		return
	}
	// The nodes are read last, wherever they stand, so that the name of their service is known
	// when something is wrong with them.
	nodes, found := 0, 0
	list := f.object(&fieldsOfService, func(key string) bool {
		if key != keyNode && key != keyNodes {
			return false
		}
		f.space()
		nodes = f.pos
		found++
		f.value()
		return true
	})
	end := f.pos
	s := f.header(list, at)
	if at.name = s.Name; at.name != "" {
		f.names = append(f.names, at)
	}
	s.validateSelf(&f.wrong, at)
	switch {
	case found == 0:
		f.wrong.add(at, "field node: missing; want a list")
	case found > 1:
		f.wrong.add(at, "field node: given twice")
	case f.text[nodes] != '[':
		f.wrong.add(at, "field node: want a list")
	default:
		f.pos = nodes
		f.nodes(&s, at)
	}
	f.pos = end
	s.validateWhole(&f.wrong, at, f.places)
	if f.wrong.count() == 0 {
		f.services = append(f.services, s)
	}
}

// header returns a service without its instances, made of its fields.
func (f *file) header(list []Setting, at place) (s Service) {
	for _, x := range list {
		to := &s.Name
		switch x.Key {
		case keyName:
		case keyType:
			to = &s.Type
		default:
			s.Settings = append(s.Settings, x)
			continue
		}
		if x.Raw || *to != "" {
			f.wrong.add(at, "field %s: want one text", x.Key)
			continue
		}
		*to = x.Value
	}
	sortSettings(s.Settings)
	return s
}

// nodes reads the list of a service's instances.
func (f *file) nodes(s *Service, at place) {
	// Room is made for those that can be instances: a file of nothing but {} gets none.
	ahead, room := f.scanner, 0
	for ahead.enter(); ahead.more(); {
		if len(ahead.value()) >= instanceTextLeast {
			room++
		}
	}
	s.Instances = make([]Instance, 0, min(room, InstancesMax))
	f.places = f.places[:0]
	v := validator{&f.wrong, at}
	for f.enter(); f.more(); {
		v.at.node++
		if v.at.node > InstancesMax {
			f.value()
			continue
		}
		if f.next() != '{' {
			f.wrong.add(v.at, "want an object, found %s", quote(f.value()))
			continue
		}
		i := Instance{Settings: slices.Clone(withoutState(f.object(&fieldsOfInstance, noField)))}
		i.complete()
		if _, set := find(i.Settings, ShownCheckedBy); set {
			v.p.add(v.at, "field %s: %s", ShownCheckedBy, isShown)
		}
		v.instance(s.Type, &i)
		if i.ID != "" && len(s.Instances) < cap(s.Instances) {
			s.Instances = append(s.Instances, i)
			f.places = append(f.places, v.at.node)
		}
	}
	if v.at.node > InstancesMax {
		f.wrong.add(at, "%d nodes; the limit is %d", v.at.node, InstancesMax)
	}
}

func noField(string) bool { return false }

// notSettings is how many fields of an object become no settings at most: an instance's id,
// and the six of its state that MarshalJSON shows.
const notSettings = 7

// object reads the object that comes next as settings, in the order of the file, and stops
// keeping them when they are more than there may be. It asks field about each key, which reports
// whether it has taken the value itself. The list is good until the next call.
func (f *file) object(known *fields, field func(key string) bool) []Setting {
	f.list = f.list[:0]
	for f.enter(); f.more(); {
		key := f.key()
		if field(key) {
			continue
		}
		x, ok := setting(key, f.value(), known)
		if ok && len(f.list) < SettingsMax+1+notSettings {
			f.list = append(f.list, x)
		}
	}
	return f.list
}

// setting makes a setting of a field. A known field that is null is no setting.
func setting(key, text string, known *fields) (Setting, bool) {
	isText := key == keyName || key == keyType || key == keyID || Secret(key) || known.lookUp(key) != nil
	switch c := text[0]; {
	case c == '"':
		return Setting{Key: key, Value: unquote(text)}, true
	case isText && text == "null":
		return Setting{}, false
	case isText && c != '[' && c != '{': // a number or a boolean
		return Setting{Key: key, Value: text}, true
	case isText && key == keyTags && c == '[':
		if tags, ok := textsOf(text); ok {
			return Setting{Key: key, Value: tags}, tags != ""
		}
	}
	var b bytes.Buffer
	if c := text[0]; c != '[' && c != '{' || json.Compact(&b, []byte(text)) != nil {
		return Setting{Key: key, Value: text, Raw: true}, true
	}
	return Setting{Key: key, Value: b.String(), Raw: true}, true
}

// textsOf joins a list of texts with commas.
func textsOf(list string) (joined string, ok bool) {
	c := scanner{text: list}
	var b strings.Builder
	for c.enter(); c.more(); {
		text := c.value()
		if text[0] != '"' || strings.Contains(text, ",") {
			return "", false
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(unquote(text))
	}
	return b.String(), true
}

// withoutState takes out what MarshalJSON shows of an instance's state, if the object has a status
// as it is shown. Other objects keep fields of these names, and Validate refuses them.
func withoutState(list []Setting) []Setting {
	if !slices.ContainsFunc(list, func(x Setting) bool {
		return x.Key == keyStatus && !x.Raw && (x.Value == ShownMaintenance || slices.Contains(statusNames[:], x.Value))
	}) {
		return list
	}
	return slices.DeleteFunc(list, func(x Setting) bool {
		return x.Key != keyID && (fieldsOfInstance.reserved[x.Key] != "" || x.Key == ShownCheckedBy)
	})
}

// validateNames names services that would take each other's place.
func (f *file) validateNames() {
	slices.SortStableFunc(f.names, func(a, b place) int { return cmp.Compare(a.name, b.name) })
	for n := 1; n < len(f.names); n++ {
		if a, b := f.names[n-1], f.names[n]; a.name == b.name {
			f.wrong.add(b, "field name: service %d has it too", a.service)
		}
	}
}
