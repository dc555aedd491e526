package access

import "strings"

// Verbs is a set of what may be done, as their sum.
type Verbs uint8

// The verbs. Their numbers are in the table, for ever.
const (
	Read  Verbs = 1 << iota // see what is there: values, the configuration of services, points; of the cluster, logs and counters
	Write                   // change it
	List                    // enumerate names
	Watch                   // be told of changes
	Admin                   // of a database, make and drop it; of the cluster, give orders, and say who may do what

	All = Read | Write | List | Watch | Admin
)

// AllText stands for all verbs, also for those that a newer version adds to an object's kind.
const AllText = "all"

var verbNames = [...]string{"read", "write", "list", "watch", "admin"}

// Known reports whether v is one verb or more, and none that this version does not know.
func (v Verbs) Known() bool { return v != 0 && v&^All == 0 }

// String returns the verbs as [ParseVerbs] reads them.
func (v Verbs) String() string {
	switch v {
	case 0:
		return "none"
	case All:
		return AllText
	}
	var names []string
	for i, name := range verbNames {
		if v&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if v&^All != 0 {
		names = append(names, "unknown")
	}
	return strings.Join(names, ",")
}

// ParseVerbs reads verbs with commas between them, or [AllText].
func ParseVerbs(text string) (v Verbs, err error) {
	if text == AllText {
		return All, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		one := verbOf(name)
		if one == 0 {
			return 0, invalidf("verb %s: want %s, with commas between several, or %s", quote(name), strings.Join(verbNames[:], ", "), AllText)
		}
		if v&one != 0 {
			return 0, invalidf("verb %s: twice; want each once", quote(name))
		}
		v |= one
	}
	return v, nil
}

func verbOf(name string) Verbs {
	for i, known := range verbNames {
		if name == known {
			return 1 << i
		}
	}
	return 0
}
