package access

import (
	"math/bits"
	"slices"
	"strings"
)

// Principal is whoever may do something in the cluster: a user, by the index of the entry that made
// it, which no other user ever has. 0 stands for everybody, where nobody is asked who he is.
type Principal uint64

// User is what the rules know of a user.
type User struct {
	ID    Principal
	Roles []string
}

// Rules are all users' rights, as compiled from one state of the table. Nothing changes them, so
// all goroutines may share them.
type Rules struct {
	rights map[Principal]*Rights
}

// Compile makes the rules of some users with some roles. It takes what [Grant.Check] would refuse
// for nothing, and roles that are not there for none: a rule that can't be understood allows nothing.
func Compile(users []User, roles []Role) *Rules {
	byName := make(map[string]*Role, len(roles))
	for i := range roles {
		byName[roles[i].Name] = &roles[i]
	}
	r := &Rules{rights: make(map[Principal]*Rights, len(users))}
	shared := map[string]*Rights{} // users with the same roles have the same rights
	for _, u := range users {
		names := slices.Compact(slices.Sorted(slices.Values(u.Roles)))
		key := strings.Join(names, "\x00")
		if shared[key] == nil {
			shared[key] = rightsOf(names, byName)
		}
		r.rights[u.ID] = shared[key]
	}
	return r
}

// Of returns the rights of a user; nil, which allows nothing, for one that is not there.
func (r *Rules) Of(p Principal) *Rights {
	if r == nil {
		return nil
	}
	return r.rights[p]
}

// Rights are what a user may do. nil allows nothing.
type Rights struct {
	// All is set where everything is allowed, so that no request must be read to say so.
	All   bool
	roles []Role // for Why alone
	// prefixes[k][i] allow the i-th verb for things of kind k: sorted, none the beginning of another.
	prefixes [kindEnd][len(verbNames)][]string
}

func rightsOf(names []string, roles map[string]*Role) *Rights {
	x := &Rights{}
	for _, name := range names {
		role := roles[name]
		if role == nil {
			continue
		}
		x.roles = append(x.roles, *role)
		for _, g := range role.Grants {
			if g.Check() != nil {
				continue
			}
			for i := range verbNames {
				if g.Verbs&g.Object.Kind.Verbs()&(1<<i) != 0 {
					p := &x.prefixes[g.Object.Kind][i]
					*p = append(*p, g.Object.Prefix)
				}
			}
		}
	}
	x.All = true
	for k := Keys; k < kindEnd; k++ {
		for i := range verbNames {
			x.prefixes[k][i] = widest(x.prefixes[k][i])
			if k.Verbs()&(1<<i) != 0 && !slices.Equal(x.prefixes[k][i], everything) {
				x.All = false
			}
		}
	}
	return x
}

// everything is what [widest] makes of prefixes one of which is empty.
var everything = []string{""}

// widest sorts prefixes and drops those that another covers.
func widest(prefixes []string) (kept []string) {
	slices.Sort(prefixes)
	for _, p := range prefixes {
		if len(kept) == 0 || !strings.HasPrefix(p, kept[len(kept)-1]) {
			kept = append(kept, p)
		}
	}
	return kept
}

// May reports whether all of some verbs are allowed on a thing, by one grant or several. A verb that
// means nothing for the kind is not. For [Cluster] the name is nil.
func (x *Rights) May(v Verbs, k Kind, name []byte) bool {
	if x == nil || v == 0 || v&^k.Verbs() != 0 {
		return false
	}
	if x.All {
		return true
	}
	for ; v != 0; v &= v - 1 {
		if !begins(x.prefixes[k][bits.TrailingZeros8(uint8(v))], name) {
			return false
		}
	}
	return true
}

// begins reports whether name begins with one of the prefixes, which are [widest]. What sorts
// between a prefix and a name that begins with it begins with it too, and so is none of them: the one
// before the name is the only one that can fit.
func begins(prefixes []string, name []byte) bool {
	if len(prefixes) == 1 { // a narrow role: there is nothing to look for
		p := prefixes[0]
		return len(p) <= len(name) && p == string(name[:len(p)])
	}
	lo, hi := 0, len(prefixes) // those before lo are at most name, those from hi on are above
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if prefixes[mid] <= string(name) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return false
	}
	p := prefixes[lo-1]
	return len(p) <= len(name) && p == string(name[:len(p)])
}

// Covers reports whether all of some verbs are allowed on whatever begins with prefix, each by one
// grant alone. Grants on some of it do not add up: an answer that leaves out what the asker may not
// see would read as if that were not there.
func (x *Rights) Covers(v Verbs, k Kind, prefix []byte) bool {
	// Each name that begins with the prefix begins with a beginning of it, so a grant that covers the
	// prefix as if it were a name covers all of them, and no other one does.
	return x.May(v, k, prefix)
}

// Why returns the first role, by name, with a grant of one verb on a thing, and that grant.
func (x *Rights) Why(v Verbs, k Kind, name []byte) (role string, by Grant, ok bool) {
	if x == nil || v == 0 || v&^k.Verbs() != 0 {
		return "", Grant{}, false
	}
	for _, r := range x.roles {
		for _, g := range r.Grants {
			if g.Check() == nil && g.Verbs&v == v && g.Object.Kind == k && strings.HasPrefix(string(name), g.Object.Prefix) {
				return r.Name, g, true
			}
		}
	}
	return "", Grant{}, false
}
