package access

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind is what kind of thing a grant is about.
type Kind uint8

// The kinds. Their numbers are in the table, for ever.
const (
	Keys      Kind = 1 // keys that begin with the prefix, and the leases that live with them
	Services  Kind = 2 // services whose names begin with it
	Databases Kind = 3 // databases whose names begin with it
	Cluster   Kind = 4 // the cluster itself; it has no prefix

	kindEnd = 5
)

// kinds says of each kind how it is written, and which verbs mean anything for it.
var kinds = [kindEnd]struct {
	text  string
	verbs Verbs
}{
	Keys:      {"key:", Read | Write | List | Watch},
	Services:  {"service:", Read | Write | List | Watch},
	Databases: {"db:", All},
	Cluster:   {"cluster", Read | Admin},
}

// Known reports whether this version knows the kind.
func (k Kind) Known() bool { return k > 0 && k < kindEnd }

// Verbs returns the verbs that mean anything for objects of the kind.
func (k Kind) Verbs() Verbs {
	if !k.Known() {
		return 0
	}
	return kinds[k].verbs
}

// String returns the kind as an object of it begins.
func (k Kind) String() string {
	if !k.Known() {
		return "unknown"
	}
	return kinds[k].text
}

// Object is what a grant is about: all things of one kind whose names begin with Prefix.
type Object struct {
	Kind   Kind
	Prefix string // "": all of them; at most [PrefixMax] bytes
}

// String returns the object as [ParseObject] reads it: key:app/, service:web, db:metrics, cluster.
func (o Object) String() string { return o.Kind.String() + o.Prefix }

// Check says what is wrong with an object that did not come from [ParseObject].
func (o Object) Check() error {
	switch {
	case !o.Kind.Known():
		return invalidf("object of kind %d: want one of 1 to %d", uint8(o.Kind), kindEnd-1)
	case o.Kind == Cluster && o.Prefix != "":
		return invalidf("object %s: want cluster alone; it has no parts", quote(o.String()))
	case len(o.Prefix) > PrefixMax:
		return invalidf("object %s: a prefix of %d bytes; want %d at most", quote(o.String()), len(o.Prefix), PrefixMax)
	case !utf8.ValidString(o.Prefix) || strings.ContainsFunc(o.Prefix, unicode.IsControl):
		// A rule must read on every terminal as it is meant.
		return invalidf("object %s: a prefix with bytes that are no text; want UTF-8 without control characters", quote(o.String()))
	}
	return nil
}

// mistaken are words before a colon that people write for a kind.
var mistaken = map[string]Kind{
	"keys": Keys, "kv": Keys, "prefix": Keys, "services": Services, "svc": Services,
	"dbs": Databases, "database": Databases, "databases": Databases,
}

// ParseObject reads key:PREFIX, service:PREFIX, db:PREFIX or cluster. A text that begins like none of these
// is a prefix of keys, but for those that somebody would write who means something else, which key: in front
// of it makes clear: "", all keys by an empty variable of a script; keys:app/, in which a kind is mistaken;
// app/*, of which the star would be part of the key.
func ParseObject(text string) (Object, error) {
	o := Object{Kind: Keys, Prefix: text}
	word, rest, _ := strings.Cut(text, ":")
	kind, mistakes := mistaken[word]
	switch {
	case text == "":
		return Object{}, invalidf(`object "": want key:PREFIX, service:PREFIX, db:PREFIX or cluster; all keys are key:`)
	case mistakes && len(word) < len(text):
		return Object{}, invalidf("object %s: %s: is no kind; want %s; for keys that begin so, %s", quote(text), word, quote(kind.String()+rest), quote(Keys.String()+text))
	case strings.HasSuffix(text, "*") && !strings.Contains(text, ":"):
		return Object{}, invalidf("object %s: a prefix has no star; want %s; for keys that begin so, %s", quote(text), quote(Keys.String()+strings.TrimRight(text, "*")), quote(Keys.String()+text))
	case text == Cluster.String():
		o = Object{Kind: Cluster}
	default:
		for k := Keys; k < Cluster; k++ {
			if rest, ok := strings.CutPrefix(text, k.String()); ok {
				o = Object{Kind: k, Prefix: rest}
			}
		}
	}
	if err := o.Check(); err != nil {
		return Object{}, err
	}
	return o, nil
}

// Grant allows verbs on an object.
type Grant struct {
	Verbs  Verbs
	Object Object
}

// String returns "read,write on key:app/".
func (g Grant) String() string { return g.Verbs.String() + " on " + g.Object.String() }

// Check says what is wrong with a grant. One that allows nothing is refused: whoever made it
// meant something else. [All] fits each kind.
func (g Grant) Check() error {
	if err := g.Object.Check(); err != nil {
		return err
	}
	can := g.Object.Kind.Verbs()
	switch {
	case g.Verbs == 0:
		return invalidf("grant on %s: no verbs; want %s", quote(g.Object.String()), can)
	case !g.Verbs.Known():
		return invalidf("grant on %s: verbs %d; want a sum of the verbs that are known, %d at most", quote(g.Object.String()), uint8(g.Verbs), uint8(All))
	case g.Verbs != All && g.Verbs&^can != 0:
		return invalidf("grant on %s: %s means nothing there; want %s, or %s", quote(g.Object.String()), g.Verbs&^can, can, AllText)
	}
	return nil
}

// Role is a name for some grants. Its users have all of them.
type Role struct {
	Name   string
	Grants []Grant
}
