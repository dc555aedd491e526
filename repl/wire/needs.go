package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"muster/shardmap"
	"muster/shardmap/access"
	"muster/shardmap/pack"
)

// bugEmptyAllows is planted to show that its test finds it: a request that nobody said the needs of
// needs nothing.
const bugEmptyAllows = "empty row allows"

// need is what is said of the needs of one type.
type need struct {
	// about says it to a person, for docs/security.md.
	about string
	// each calls yield with everything that a request needs to be allowed, until that returns
	// false. It may read less than all of the body: what it lets pass is read again by whoever carries it
	// out. An error is about a body that it can't read.
	each func(body []byte, yield func(access.Need) bool) error
}

// needs has a row for each type that a client may send: what that needs, beside being a user of
// the cluster. A type without a row is denied. [Forward] has none: what it carries is asked about.
var needs = [...]need{
	TypePing: {"nothing", nothing},

	TypeWrite:        {"`write` on each key or service that it changes, on the prefix whose keys it deletes, or on the database to which it brings points or from which it deletes some, `read` on each whose state its outcome or answer tells: a condition, a compare, a get, an incr; of a lease, `write` on any key, and to keep it alive or to revoke it, to have been granted it", eachOfWrite},
	TypeGet:          {"`read` on each key", eachOfGet},
	TypeList:         {"`list` on the prefix, and `read` unless it asks for keys only", eachOfList},
	TypeTopology:     {"nothing", nothing},
	TypeScan:         {"`list` on the prefix, and `read` unless it asks for keys only", eachOfScan},
	TypeStreamGrant:  {"nothing: the stream is the sender's own", nothing},
	TypeStreamCancel: {"nothing: the stream is the sender's own", nothing},
	TypeWatch:        {"`watch` and `read` on what all keys of the range begin with, on the key, or on the service", eachOfWatch},
	TypeSlotView:     {"nothing: clients follow slots that move by it; how many keys a slot has, how large they are, its last version, digests and imports are left out without `read` or `admin` on the cluster", nothing},

	TypeTableStream: {"nothing", nothing},
	TypeLeases:      {"`list` on all keys", eachOfLeases},
	TypeServices:    {"`read` on the service, or `list` and `read` on all", eachOfServices},
	TypeHeartbeat:   {"`write` on the service", eachOfHeartbeat},

	TypeHistory: {"`read` on the key", eachOfHistory},

	TypePointsQuery: {"`read` on the database", eachOfPointsQuery},
	TypeWindow:      {"`write` on the database", eachOfWindow},
	TypeHint:        {"`write` on the database", eachOfHint},
	TypeDurable:     {"nothing", nothing},
	TypeHints:       {"`read` on the cluster; `admin` to have hints tried or given up", eachOfHints},

	TypeBackup: {"`list` and `read` on all keys and on all services, and `admin` on the cluster: it brings the secrets of services, which no other answer does. A server may send it too: it takes the backups of jobs", eachOfBackup},

	TypeStatus:  {"nothing", nothing},
	TypeQueries: {"nothing about one's own; `read` on the cluster to see those of others, and `admin` to end them", nothing},

	TypeCounters: {"`read` on the cluster", looking},
	TypeLogRange: {"`read` on the cluster", looking},
	TypeDoctor:   {"`read` on the cluster", looking},
	TypeCheck:    {"`read` on the cluster; `admin` to have something done about what it finds", eachOfCheck},

	TypeTable:    {"nothing; what the table has of passwords and keys is left out, and without `read` or `admin` on the cluster also users, roles, tokens and limits, and each database that one has no right to", nothing},
	TypeOrder:    {"`admin` on the cluster; `read` to see the plan; for a job that deletes the keys with a prefix, `write` on that prefix in their place; for an order about one database, `admin` on it, and `read` to see the plan", eachOfOrder},
	TypeAddNodes: {"`admin` on the cluster", changing},

	TypeRenew:     {"nothing for one's own certificate, unless that is of a login, which is not renewed; `admin` on the cluster for another user's", eachOfRenew},
	TypeWhoami:    {"nothing", nothing},
	TypeCanI:      {"nothing about oneself, `read` on the cluster about another user", eachOfCanI},
	TypeTrail:     {"`admin` on the cluster", changing},
	TypeUsage:     {"`read` on the cluster", looking},
	TypeAuthority: {"`admin` on the cluster", changing},
	TypeBackups:   {"`admin` on the cluster", changing},
}

// ErrNoNeeds is returned by [Needs] for a type that nobody has said the needs of.
var ErrNoNeeds = errors.New("nobody has said what it needs")

// Needs calls yield with everything that a client needs to be allowed for a request, until yield
// returns false, which denies it. It calls it with nothing where every user may send the type. An
// error denies too: the body can't be read, or the type has no row. The names alias body. Frequent types
// are read without allocation.
func Needs(t Type, body []byte, yield func(access.Need) bool) error {
	switch {
	case !HasNeeds(t):
		return fmt.Errorf("%s: %w", t, ErrNoNeeds)
	case int(t) >= len(needs) || needs[t].each == nil: // with the bug
		return nil
	}
	return needs[t].each(body, yield)
}

// HasNeeds reports whether somebody has said what a type needs, if only that it is nothing.
func HasNeeds(t Type) bool {
	return int(t) < len(needs) && needs[t].each != nil || bug(bugEmptyAllows)
}

// NeedsText says what a type needs, for the documents; "" if clients can't send it.
func NeedsText(t Type) string {
	if int(t) >= len(needs) {
		return ""
	}
	return needs[t].about
}

func nothing([]byte, func(access.Need) bool) error { return nil }

// looking needs to be allowed to look into the cluster.
func looking(_ []byte, yield func(access.Need) bool) error {
	yield(access.Need{Verbs: access.Read, Kind: access.Cluster})
	return nil
}

// changing needs to be allowed to change the cluster.
func changing(_ []byte, yield func(access.Need) bool) error {
	yield(access.Need{Verbs: access.Admin, Kind: access.Cluster})
	return nil
}

func eachOfWrite(body []byte, yield func(access.Need) bool) error {
	r := pack.NewReader(body)
	r.ArrayLen(2)
	r.Fixed32() // the checksum: whoever carries it out looks at it
	command := r.Rest()
	if err := r.Err(); err != nil {
		return err
	}
	return shardmap.EachNeed(command, yield)
}

// loneGet is how a get of one key begins that asks for nothing else, as nearly all do: it has all fields
// before that key.
var loneGet = func() []byte {
	body := (&Get{Keys: [][]byte{nil}}).Append(nil)
	return body[:len(body)-len(pack.AppendBytes(nil, nil))]
}()

func eachOfGet(body []byte, yield func(access.Need) bool) error {
	if bytes.HasPrefix(body, loneGet) { // field by field it takes twice as long
		r := pack.NewReader(body[len(loneGet):])
		key := r.Bytes()
		if err := r.Err(); err != nil {
			return err
		}
		yield(access.Need{Verbs: access.Read, Kind: access.Keys, Name: key})
		return nil
	}
	r := pack.NewReader(body)
	r.Array()
	r.Uint() // mode
	readLogID(&r)
	n := r.Array()
	for range n {
		key := r.Bytes()
		if r.Err() != nil {
			break
		}
		if !yield(access.Need{Verbs: access.Read, Kind: access.Keys, Name: key}) {
			return nil
		}
	}
	if r.Err() == nil && n == 0 {
		return errors.New("field keys: none")
	}
	return r.Err()
}

func eachOfList(body []byte, yield func(access.Need) bool) error {
	r := pack.NewReader(body)
	r.Array()
	r.Uint() // mode
	r.Uint() // group
	r.Uint() // epoch
	prefix := r.Bytes()
	r.Bytes() // after
	r.Uint()  // limit
	r.Uint()  // max bytes
	return listing(&r, prefix, yield)
}

func eachOfScan(body []byte, yield func(access.Need) bool) error {
	r := pack.NewReader(body)
	r.Array()
	r.Uint() // mode
	r.Uint() // group
	r.Uint() // epoch
	prefix := r.Bytes()
	r.Bytes() // after
	r.Uint()  // limit
	r.Uint()  // piece bytes
	r.Uint()  // window
	return listing(&r, prefix, yield)
}

// listing is what a listing of a prefix needs that goes on with whether it is of keys only.
func listing(r *pack.Reader, prefix []byte, yield func(access.Need) bool) error {
	verbs := access.List | access.Read
	if r.Bool() {
		verbs = access.List
	}
	if err := r.Err(); err != nil {
		return err
	}
	yield(access.Need{Verbs: verbs, Kind: access.Keys, Extent: access.Under, Name: prefix})
	return nil
}

func eachOfWatch(body []byte, yield func(access.Need) bool) error {
	var w Watch
	if err := w.Read(body); err != nil {
		return err
	}
	n := access.Need{Verbs: access.Watch | access.Read, Kind: access.Keys, Name: w.From}
	if w.Services {
		n.Kind = access.Services
	}
	if !w.Exact {
		n.Extent, n.Name = access.Under, access.SpanPrefix(w.From, w.To)
	}
	yield(n)
	return nil
}

func eachOfLeases(_ []byte, yield func(access.Need) bool) error {
	yield(access.Need{Verbs: access.List, Kind: access.Keys, Extent: access.Under})
	return nil
}

func eachOfServices(body []byte, yield func(access.Need) bool) error {
	var s Services
	if err := s.Read(body); err != nil {
		return err
	}
	n := access.Need{Verbs: access.List | access.Read, Kind: access.Services, Extent: access.Under}
	if s.Exact {
		n = access.Need{Verbs: access.Read, Kind: access.Services, Name: s.After}
	}
	yield(n)
	return nil
}

func eachOfHistory(body []byte, yield func(access.Need) bool) error {
	r := pack.NewReader(body)
	r.Array()
	r.Uint() // mode
	r.Uint() // group
	key := r.Bytes()
	if err := r.Err(); err != nil {
		return err
	}
	yield(access.Need{Verbs: access.Read, Kind: access.Keys, Name: key})
	return nil
}

func eachOfPointsQuery(body []byte, yield func(access.Need) bool) error {
	r := pack.NewReader(body)
	r.Array()
	r.Uint() // mode
	r.Uint() // group
	name := r.Bytes()
	if err := r.Err(); err != nil {
		return err
	}
	yield(access.Need{Verbs: access.Read, Kind: access.Databases, Name: name})
	return nil
}

func eachOfWindow(body []byte, yield func(access.Need) bool) error {
	r := pack.NewReader(body)
	r.Array()
	r.Uint() // policy
	r.Int()  // time
	name := r.Bytes()
	if err := r.Err(); err != nil {
		return err
	}
	yield(access.Need{Verbs: access.Write, Kind: access.Databases, Name: name})
	return nil
}

func eachOfBackup(_ []byte, yield func(access.Need) bool) error {
	for _, n := range [...]access.Need{
		{Verbs: access.List | access.Read, Kind: access.Keys, Extent: access.Under},
		{Verbs: access.List | access.Read, Kind: access.Services, Extent: access.Under},
		{Verbs: access.Admin, Kind: access.Cluster},
	} {
		if !yield(n) {
			return nil
		}
	}
	return nil
}

func eachOfHeartbeat(body []byte, yield func(access.Need) bool) error {
	r := pack.NewReader(body)
	r.Array()
	r.Uint() // group
	name := r.Bytes()
	if err := r.Err(); err != nil {
		return err
	}
	yield(access.Need{Verbs: access.Write, Kind: access.Services, Name: name})
	return nil
}

func eachOfCheck(body []byte, yield func(access.Need) bool) error {
	var c Check
	if err := c.Read(body); err != nil {
		return err
	}
	if c.Act || c.Trust {
		return changing(nil, yield)
	}
	return looking(nil, yield)
}

func eachOfOrder(body []byte, yield func(access.Need) bool) error {
	var o Order
	if err := o.Read(body); err != nil {
		return err
	}
	if prefix, ok := shardmap.ErrandPrefix(o.Command); ok && !bug(bugDeleteUnasked) {
		// As for the deletes that the job sends: nodes ask for these whoever has ordered it.
		yield(access.Need{Verbs: access.Write, Kind: access.Keys, Extent: access.Under, Name: prefix})
		return nil
	}
	if name, ok := shardmap.OrderDatabase(o.Command); ok && !bug(bugDatabaseUnasked) {
		verb := access.Admin
		if o.Plan {
			verb = access.Read
		}
		yield(access.Need{Verbs: verb, Kind: access.Databases, Name: []byte(name)})
		return nil
	}
	if o.Plan {
		return looking(nil, yield)
	}
	return changing(nil, yield)
}

// bugDatabaseUnasked is planted to show that its test finds it: an order about a database needs what other
// orders need, and nothing on the database.
const bugDatabaseUnasked = "order without a right to its database"

// bugDeleteUnasked is planted to show that its test finds it: a job that deletes keys needs what other
// jobs need, and nothing on the keys.
const bugDeleteUnasked = "delete without a right to its keys"

// OfErrands reports whether a server may send a request as a client of its own cluster: what a job needs
// that deletes the keys with a prefix, or takes a backup, and to bring the points of a hint to their group. It does not check the
// request.
func OfErrands(t Type, body []byte) bool {
	switch t {
	case TypeBackup, TypeList, TypeScan:
		return true
	case TypeWrite:
		r := pack.NewReader(body)
		r.ArrayLen(2)
		r.Fixed32()
		if r.Err() != nil {
			return false
		}
		command := r.Rest()
		return shardmap.CommandKindOf(command) == shardmap.CommandDelPrefix || shardmap.FillsPoints(command)
	}
	return false
}

func eachOfRenew(body []byte, yield func(access.Need) bool) error {
	var q Renew
	if err := q.Read(body); err != nil {
		return err
	}
	if q.User != "" {
		return changing(nil, yield)
	}
	return nil
}

func eachOfCanI(body []byte, yield func(access.Need) bool) error {
	var q CanI
	if err := q.Read(body); err != nil {
		return err
	}
	if q.User != "" {
		return looking(nil, yield)
	}
	return nil
}

// ForwardedBy reads, without allocation, the principal, the type and the request that a member passes
// on. What else is wrong with the body is found by [Forward.Read].
func ForwardedBy(body []byte) (p shardmap.Principal, t Type, request []byte, err error) {
	r := pack.NewReader(body)
	r.ArrayLen(forwardFields)
	p = shardmap.Principal(r.Uint())
	t = Type(r.UintMax(math.MaxUint16))
	request = r.Rest()
	return p, t, request, r.Err()
}
