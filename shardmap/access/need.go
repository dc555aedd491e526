package access

import "strconv"

// Extent is how much of what there is a [Need] is about.
type Extent uint8

const (
	// One is the thing that has the need's name.
	One Extent = iota
	// Under is whatever begins with the name, whether anything is there or not. One grant
	// must cover it.
	Under
	// Some is one thing of the kind at least, whichever. It is for requests that don't name what
	// they are about, and are held to it elsewhere: a lease belongs to whoever was granted it.
	Some
)

// Need is one thing that a request needs to be allowed: all of its verbs.
type Need struct {
	Verbs  Verbs
	Kind   Kind
	Extent Extent
	Name   []byte // of the thing, or its beginning; nil for [Cluster] and [Some]. It may alias a request
}

// Meets reports whether the rights allow what a request needs.
func (x *Rights) Meets(n Need) bool {
	switch n.Extent {
	case One:
		return x.May(n.Verbs, n.Kind, n.Name)
	case Under:
		return x.Covers(n.Verbs, n.Kind, n.Name) || bug(bugUncovered) && x.some(n)
	case Some:
		return x.some(n)
	}
	return false
}

// bugUncovered is planted to show that its test finds it: whoever may list something may list all.
const bugUncovered = "list outside a grant"

// some reports whether there is anything that the need's verbs are allowed on.
func (x *Rights) some(n Need) bool {
	if x == nil || n.Verbs == 0 || n.Verbs&^n.Kind.Verbs() != 0 {
		return false
	}
	for i := range verbNames {
		if n.Verbs&(1<<i) != 0 && len(x.prefixes[n.Kind][i]) == 0 {
			return false
		}
	}
	return true
}

// String says what is needed, for the error that denies it.
func (n Need) String() string {
	text := n.Verbs.String() + " on "
	switch {
	case n.Kind == Cluster:
		return text + n.Kind.String()
	case n.Extent == Some:
		return text + "any " + n.Kind.String()
	}
	text += n.Kind.String() + shownName(n.Name)
	if n.Extent == Under {
		text += "…"
	}
	return text
}

// shownName is a name as an error shows it: bytes that no terminal should see are escaped.
func shownName(name []byte) string {
	more := ""
	if len(name) > quoteMax {
		name, more = name[:quoteMax], "…"
	}
	quoted := strconv.Quote(string(name))
	return quoted[1:len(quoted)-1] + more
}

// SpanPrefix returns the longest text with which every key of a range begins: from is its first
// key, and to the first behind it, or nil if there is none. The result aliases from. A grant covers
// the range if it covers that.
func SpanPrefix(from, to []byte) []byte {
	if to == nil {
		return nil
	}
	n := 0
	for n < len(from) && n < len(to) && from[n] == to[n] {
		n++
	}
	if n == len(from) || n+1 != len(to) || from[n] == 0xff || from[n]+1 != to[n] {
		return from[:n]
	}
	// to is what follows all keys that begin with from[:n+1]; and with more of from, as long as that
	// can't be counted up.
	for n++; n < len(from) && from[n] == 0xff; n++ {
	}
	return from[:n]
}
