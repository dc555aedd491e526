package notary

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// Asker says what a connection has proven of who asks for a certificate.
type Asker uint8

const (
	// ByToken: a host that has signed with the key of Token, over its connection.
	ByToken Asker = 1
	// BySecret: a host that is Node as it says, and knows the cluster's secret.
	BySecret Asker = 2
	// ByMember: it has the key of Node's pin, and a certificate of the cluster for it, which
	// may have ended or be lost.
	ByMember Asker = 3
	// ByUser: whoever asks may have a certificate of User. The owner has seen to that.
	ByUser Asker = 4
	// ByWish: as BySecret, and for the user that runs Node.
	ByWish Asker = 5
	// ByReset: Node votes in the meta group and has the wrapping key of the issuing root, and whoever owns
	// its directory is to be an administrator again. The owner has seen to that.
	ByReset Asker = 6
)

func (a Asker) String() string {
	names := [...]string{ByToken: "by token", BySecret: "by secret", ByMember: "by member", ByUser: "by user", ByWish: "by wish", ByReset: "by reset"}
	if int(a) < len(names) && names[a] != "" {
		return names[a]
	}
	return fmt.Sprintf("asker %d", uint8(a))
}

// Request is that somebody wants a certificate.
type Request struct {
	Number uint64 // the owner's
	By     Asker
	Node   raft.NodeID // whose certificate it is to be; 0: that of User. With ByWish and ByReset who asks
	User   string      // whose, if not Node's
	// Principal is who User was when it was let in: another one may have the name by now. 0: whoever has it.
	Principal shardmap.Principal
	Key       shardmap.KeyID // that it is to be for
	Token     uint64         // of ByToken
	Lasts     time.Duration  // how long it is to be good, of a user's; 0: as usual
}

// request is one that waits.
type request struct {
	Request
	until time.Duration
	wants *shardmap.Pin // the certificate that was signed; nil: none
	host  trust.Host    // that it names
}

// user and role are what the entries are about by which a reset makes an administrator.
func (r *request) user() string { return fmt.Sprintf("user of %d", r.Number) }
func (r *request) role() string { return fmt.Sprintf("role of %d", r.Number) }

// about is what the entry that makes a certificate count is about.
func (r *request) about() string { return fmt.Sprintf("pin %d", r.Number) }

// forNode reports whether the certificate is to be that of a node.
func (q *Request) forNode() bool {
	return q.By == ByToken || q.By == BySecret || q.By == ByMember
}

// Ask takes a request. It is answered with an [Answer].
func (c *Core) Ask(now Now, q Request) {
	switch {
	case !c.leads || c.table == nil:
		c.answer(q.Number, notLeading())
	case len(c.requests) >= RequestsMax:
		c.answer(q.Number, wire.Busy("certificates", fmt.Sprintf("%d requests wait, the limit is %d", len(c.requests), RequestsMax), Retry))
	default:
		c.requests = append(c.requests, &request{Request: q, until: now.Host + requestMax})
	}
}

// serve takes the next step of each request, and answers those that are done.
func (c *Core) serve(now Now) {
	c.requests = slices.DeleteFunc(c.requests, func(r *request) bool {
		refusal, done := c.step(now, r)
		if !done && now.Host >= r.until {
			// It may yet be pinned: who asks again gets it then.
			refusal, done = wire.NotReady("certificate", "it was not made in time", "ask again", Retry), true
		}
		if done {
			delete(c.said, r.about())
			delete(c.retry, "propose "+r.about())
			delete(c.retry, fmt.Sprintf("sign %d", r.Number))
			if r.By == ByReset {
				delete(c.said, r.user()) // what was refused once may be allowed by now
				delete(c.said, r.role())
			}
			c.answer(r.Number, refusal)
			return true
		}
		c.wake(r.until)
		return false
	})
}

// step takes the next step of a request: it is checked, signed, committed, answered.
func (c *Core) step(now Now, r *request) (refusal *wire.Error, done bool) {
	s := &c.table.Security
	if r.wants != nil && r.forNode() && c.committed(r) {
		return nil, true
	}
	if refusal := c.admit(now, r); refusal != nil {
		return refusal, true
	}
	issuing, ok := s.Issuing()
	if !ok || !c.held[issuing.WrapKey] {
		return nil, false // in a moment
	}
	if r.By == ByWish && !c.welcome(now, r) {
		return nil, false
	}
	if r.By == ByReset {
		if refusal, made := reinstate(c, now, r); refusal != nil || !made {
			return refusal, refusal != nil
		}
	}
	if host := hostOf(c, &r.Request); r.wants == nil || r.wants.Root != issuing.ID || r.host != host {
		r.wants = nil
		c.begin(now, fmt.Sprintf("sign %d", r.Number), Action{Kind: Sign, Request: r.Number, Root: issuing.ID, Life: r.Life(), Host: host})
		return nil, false
	}
	if !r.forNode() {
		return nil, true // its name is what counts, and the table has that
	}
	if s.Mode == shardmap.SecurityBoth && c.saying(now, sayMode) {
		return nil, false // it was decided by which members had certificates before
	}
	if s := c.said[r.about()]; s != nil && !s.open {
		if refused := (*wire.Error)(nil); errors.As(s.err, &refused) {
			return refused, true
		}
	}
	if r.By == ByToken {
		c.propose(now, r.about(), must(shardmap.AppendUseToken(nil, &shardmap.UseToken{ID: r.Token, At: now.Wall, Pin: *r.wants})))
		if bug("certificate before the token's use is committed") {
			return nil, true
		}
	} else {
		if _, member := c.table.Node(r.Node); !member && bug("renewal for a node that left") {
			return nil, true
		}
		c.propose(now, r.about(), must(shardmap.AppendSetPin(nil, &shardmap.SetPin{Pin: *r.wants})))
	}
	return nil, false
}

// hostOf is the host that a certificate is to name: that of the node's address in the table. One that is no member yet
// gets none, whatever it calls itself, and asks again once the table has its address.
func hostOf(c *Core, q *Request) trust.Host {
	if !q.forNode() {
		return ""
	}
	row, _ := c.table.Node(q.Node)
	return trust.HostOf(row.Addr)
}

// committed reports whether the table has the certificate that was made for a request.
func (c *Core) committed(r *request) bool {
	pin, ok := c.table.Security.Pin(r.Node)
	return ok && pin.Serial == r.wants.Serial && pin.Key == r.wants.Key
}

// signed takes the certificate that was made.
func (c *Core) signed(f *flight, res *Result) {
	for _, r := range c.requests {
		if r.Number == f.request && res.Err == nil {
			r.host = f.host
			r.wants = &shardmap.Pin{Node: r.Node, Key: r.Key, Root: f.root, Serial: res.Serial, NotAfter: res.NotAfter}
		}
	}
}

// admit returns why somebody must not have what it asks for, as far as this table tells.
func (c *Core) admit(now Now, r *request) *wire.Error {
	s := &c.table.Security
	if s.Mode == shardmap.SecurityOff {
		return wire.NotReady("cluster "+c.table.Cluster, "it is without TLS", "have it go over to TLS first: muster ca create", 0)
	}
	switch r.By {
	case ByToken:
		return c.admitHost(now, r)
	case BySecret, ByMember:
		return c.admitMember(r)
	case ByWish:
		if refusal := c.admitMember(r); refusal != nil {
			return refusal
		}
		if s.Mode != shardmap.SecurityBoth {
			return wire.Unauthorized("user "+r.User, "the cluster is founded, and its users are made by its administrators", "muster user create "+r.User+", and muster user cert "+r.User)
		}
		return nil
	case ByReset:
		if voters := c.voters(); r.Node != c.self && !slices.Contains(voters, r.Node) {
			return wire.Unauthorized("user "+r.User, fmt.Sprintf("node %s is no voter of the meta group", r.Node), "give muster auth reset on a node that is one")
		}
		return nil // the user may not be there yet
	}
	if u, ok := s.UserNamed(r.User); !ok || r.Principal != 0 && u.ID != r.Principal {
		return &wire.Error{Code: wire.CodeNotFound, Object: "user " + r.User, Text: "no such user", Next: "muster user create " + r.User}
	}
	return nil
}

// admitHost is admit for a host that has a token. The table decides again when the use is
// applied: of two hosts that have the last use of one, the second is refused there.
func (c *Core) admitHost(now Now, r *request) *wire.Error {
	s, object := &c.table.Security, fmt.Sprintf("token %d", r.Token)
	const another = "have an administrator make another one: muster token create"
	token, ok := s.Token(r.Token)
	pin, pinned := s.Pin(r.Node)
	again := pinned && pin.Key == r.Key && pin.Token == r.Token
	_, member := c.table.Node(r.Node)
	switch {
	case !ok:
		return wire.Unauthorized(object, "there is none, or it is long over", another)
	case token.Revoked && !bug("revoked token accepted"):
		return wire.Unauthorized(object, "it was revoked", another)
	case token.Expires <= now.Wall && !bug("expired token accepted"):
		return wire.Unauthorized(object, fmt.Sprintf("it expired at %s, and it is %s here", timeText(token.Expires), timeText(now.Wall)), another)
	case token.Uses == 0 && !again && !bug("token used more often than it may"):
		return wire.Unauthorized(object, "all its uses are taken", another)
	case c.table.WasRemoved(r.Node):
		return wire.Removed(r.Node, fmt.Sprintf("cluster %q", c.table.Cluster))
	case member:
		return conflict("node "+r.Node.String(), "it is a member, and renews its certificate without a token", "start it without --token-file")
	case pinned && pin.Key != r.Key:
		return conflict("node "+r.Node.String(), "a host with another key has that id", "start the host with an empty data directory")
	}
	return nil
}

func timeText(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// admitMember is admit for a member.
func (c *Core) admitMember(r *request) *wire.Error {
	s, object := &c.table.Security, "node "+r.Node.String()
	if _, member := c.table.Node(r.Node); !member {
		if bug("renewal for a node that left") {
			return nil
		}
		if c.table.WasRemoved(r.Node) {
			return wire.Removed(r.Node, fmt.Sprintf("cluster %q", c.table.Cluster))
		}
		return wire.UnknownNode(r.Node, "it is no member", "have it join: start it with --token-file")
	}
	pin, pinned := s.Pin(r.Node)
	switch {
	case r.By != ByMember && s.Mode != shardmap.SecurityBoth:
		return wire.Unauthorized(object, "the secret opens this cluster no longer", "remove the node, and start it with an empty data directory and --token-file")
	case r.By == ByMember && (!pinned || pin.Key != r.Key):
		// An attacker who got hold of a connection must not keep the name for good.
		return wire.Unauthorized(object, "the request is for another key than the node has", "ask with the key that the certificate is of")
	}
	return nil
}

// AdminRole is the role of the first administrator: an ordinary one, which allows everything.
const AdminRole = "admin"

// AllGrants allow everything.
func AllGrants() (all []access.Grant) {
	for _, k := range []access.Kind{access.Keys, access.Services, access.Databases, access.Cluster} {
		all = append(all, access.Grant{Verbs: k.Verbs(), Object: access.Object{Kind: k}})
	}
	return all
}

// welcome makes the user that runs a founding host an ordinary user with an ordinary role,
// which allows everything. It reports whether the table has both.
func (c *Core) welcome(now Now, r *request) bool {
	s := &c.table.Security
	about := "user " + r.User
	u, known := s.UserNamed(r.User)
	_, role := s.Role(AdminRole)
	switch {
	case !role:
		c.propose(now, "role", must(shardmap.AppendChangeRole(nil, &shardmap.ChangeRole{Action: shardmap.RoleCreate, Name: AdminRole, Grants: AllGrants()})))
	case !known:
		c.propose(now, about, must(shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserCreate, Name: r.User, At: now.Wall})))
	case !slices.Contains(u.Roles, AdminRole):
		c.propose(now, about, must(shardmap.AppendChangeUserRoles(nil, &shardmap.ChangeUserRoles{User: r.User, Give: []string{AdminRole}})))
	default:
		return true
	}
	return false
}

// RoleForAll returns a role that allows everything, [AdminRole] rather than another; ok is false where there is
// none.
func RoleForAll(s *shardmap.Security) (name string, ok bool) {
	for i := range s.Roles {
		r := &s.Roles[i]
		if !access.Compile([]access.User{{ID: 1, Roles: []string{r.Name}}}, []access.Role{*r}).Of(1).All {
			continue
		}
		if r.Name == AdminRole || !ok {
			name, ok = r.Name, true
		}
	}
	return name, ok
}

// RoleOf returns a role of a user that allows everything, [AdminRole] rather than another; empty where it has none.
func RoleOf(s *shardmap.Security, u *shardmap.User) string {
	has := *s
	has.Roles = nil
	for i := range s.Roles {
		if slices.Contains(u.Roles, s.Roles[i].Name) {
			has.Roles = append(has.Roles, s.Roles[i])
		}
	}
	name, _ := RoleForAll(&has)
	return name
}

// resetRole is what a role is called that a reset makes where [AdminRole] does not allow everything any more: who
// narrowed that had a reason, and others have it.
const resetRole = AdminRole + "-reset"

// newRole is a name for a role that allows everything, which no role has.
func newRole(s *shardmap.Security) string {
	name := AdminRole
	for n := 1; ; n++ {
		if _, taken := s.Role(name); !taken {
			return name
		}
		if name = resetRole; n > 1 {
			name = fmt.Sprintf("%s-%d", resetRole, n)
		}
	}
}

// reinstate makes the user of a reset one that may do everything. It reports whether the table has it so, or why it
// never will.
func reinstate(c *Core, now Now, r *request) (refusal *wire.Error, made bool) {
	s := &c.table.Security
	for _, about := range []string{r.role(), r.user()} {
		if said := c.said[about]; said != nil && !said.open && errors.As(said.err, &refusal) {
			return refusal, false
		}
	}
	u, known := s.UserNamed(r.User)
	if known && RoleOf(s, &u) != "" {
		return nil, true
	}
	role, allows := RoleForAll(s)
	switch {
	case !allows:
		c.propose(now, r.role(), must(shardmap.AppendChangeRole(nil, &shardmap.ChangeRole{Action: shardmap.RoleCreate, Name: newRole(s), Grants: AllGrants()})))
	case !known:
		c.propose(now, r.user(), must(shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserCreate, Name: r.User, At: now.Wall})))
	default:
		c.propose(now, r.user(), must(shardmap.AppendChangeUserRoles(nil, &shardmap.ChangeUserRoles{User: r.User, Give: []string{role}})))
	}
	return nil, false
}

// Life is how long a certificate lasts that is made for a request.
func (q *Request) Life() time.Duration {
	switch {
	case q.forNode():
		return trust.NodeLife
	case q.Lasts != 0:
		return q.Lasts
	}
	return trust.UserLife
}
