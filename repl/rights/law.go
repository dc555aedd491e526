package rights

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/access"
)

// Principal is for whom a client's connection speaks. It is settled once, when the connection is
// taken; what that may do follows from the law of the moment.
type Principal struct {
	User shardmap.Principal // 0: nobody in particular
	Name string             // of the user, as it was then; "" if only the number is known
	Node raft.NodeID        // it is a member, which asks as a client does: it may do what needs nothing
	// Open: everything is allowed, because nobody is asked who he is: the cluster is an insecure
	// one, or has a secret only, which the other side has proven to know.
	Open bool
	// Early: it has shown a user's certificate to a node that had read no table yet, which could not
	// tell more of it. It may see what that node waits for, until there is a table; then the connection ends.
	Early bool
}

func (p Principal) String() string {
	switch {
	case p.User != 0, p.Early:
		return "user " + p.Name
	case p.Node != 0:
		return "node " + p.Node.String()
	}
	return "nobody in particular"
}

// Law is what users may do, by one table. Nothing changes it, so all goroutines may share it.
type Law struct {
	Table *shardmap.Table
	Epoch uint64 // of the rules: the index of the entry that changed them last
	Rules *access.Rules
	// Users: somebody may be a user, because certificates count. Asked: everybody has to prove who he is.
	Users, Asked bool
}

// bugFormerRules is planted to show that its tests find it: a change of rights reaches only those who
// connect after it.
const bugFormerRules = "rules of a former table"

// Follow returns the law of a table that is newer than that of w, which is nil before the first. It reports
// whether what is open has to be held to the law again.
func (w *Law) Follow(t *shardmap.Table) (next *Law, changed bool) {
	s := &t.Security
	next = &Law{Table: t, Epoch: s.Rules, Users: s.Mode != shardmap.SecurityOff, Asked: s.Mode == shardmap.SecurityOnly}
	switch {
	case w != nil && w.Epoch == next.Epoch && w.Asked == next.Asked:
		next.Rules = w.Rules
		return next, false
	case w != nil && w.Epoch != 0 && bug(bugFormerRules):
		return w, false
	}
	next.Rules = compile(s)
	return next, true
}

// compile compiles the rules of a table.
func compile(s *shardmap.Security) *access.Rules {
	users := make([]access.User, len(s.Users))
	for i := range s.Users {
		users[i] = access.User{ID: s.Users[i].ID, Roles: s.Users[i].Roles}
	}
	return access.Compile(users, s.Roles)
}

// nameOf is a user as an error shows it.
func (w *Law) nameOf(p Principal) string {
	if u, ok := w.Table.Security.User(p.User); ok {
		return "user " + u.Name
	}
	if p.Name == "" && p.Node == 0 {
		return fmt.Sprintf("user %d", p.User)
	}
	return p.String()
}
