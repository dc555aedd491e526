package node

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// Hearsay is what other nodes say of the cluster, where this node's own log says nothing. One member
// that lies could have a node leave for good, throw its replicas away, or take another key for that of a
// member. So one member's word changes nothing that outlives the process, and nobody's keys:
//
//   - That this node was removed counts once two members have said so.
//   - A table counts once two members have given the same one, to the byte. Tables of one index are equal,
//     so honest members need to be asked at one moment only; they are asked until that comes about.
//   - By its own word a node is taken for one more peer, under its own certificate: so a node that was away
//     while the others were replaced is fed by them. It takes no other's place.
//
// Where there is but one other member, its word is all that there is: it is half of the cluster, and nothing
// happens without it. A node's own log needs nobody's word.

const (
	// wordsMax bounds the members whose words are remembered: a liar has one name for each certificate.
	wordsMax = 8
	// wordsWanted is how many members have to say the same.
	wordsWanted = 2
	// confirmersMax is how many members are asked at one moment whether they say the same.
	confirmersMax = 4
	// introducedMax bounds the peers that are taken by their own word.
	introducedMax = 64
	// unconfirmedAfter is for how long nobody has confirmed a table before a person is told: mostly this
	// node's own log has caught up by then.
	unconfirmedAfter = 10 * time.Second
)

// The planted bugs of hearsay: one member's word is enough to have a node leave, and for a table.
const (
	bugOneRemoval = "removal by one member's word"
	bugOneTable   = "table by one member's word"
)

// hearsay is what other members have said, and what that comes to. It is safe for all goroutines.
type hearsay struct {
	mu      sync.Mutex
	tables  []tableWord   // guarded by mu; the newest of each member that has given one, at most wordsMax
	since   time.Time     // guarded by mu; when there was none of them last
	removed []raft.NodeID // guarded by mu; who has said that this node was removed, at most wordsMax
	// introduced are nodes that the table does not name, by their own word; at most introducedMax.
	introduced map[raft.NodeID]introduction // guarded by mu
}

// tableWord is the table that a member has given.
type tableWord struct {
	from  raft.NodeID
	addr  string
	index uint64
	sum   [sha256.Size]byte // of its bytes
}

// introduction is what a node has said of itself.
type introduction struct {
	addr string
	key  trust.KeyID // zero in a cluster without certificates
}

// wordsNeeded returns how many members have to say the same, in a cluster with so many other members.
func wordsNeeded(others int) int { return max(1, min(wordsWanted, others)) }

// table takes the table that a member has given, and reports whether enough of them have given it.
func (h *hearsay) table(w tableWord, others int, now time.Time) (confirmed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.tables) == 0 {
		h.since = now
	}
	h.tables = slices.DeleteFunc(h.tables, func(o tableWord) bool { return o.from == w.from })
	if len(h.tables) >= wordsMax {
		h.tables = slices.Delete(h.tables, 0, 1)
	}
	h.tables = append(h.tables, w)
	same := 0
	for i := range h.tables {
		if o := &h.tables[i]; o.index == w.index && o.sum == w.sum {
			same++
		}
	}
	return same >= wordsNeeded(others) || bug(bugOneTable)
}

// settled forgets the tables that are no newer than what is known.
func (h *hearsay) settled(index uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tables = slices.DeleteFunc(h.tables, func(o tableWord) bool { return o.index <= index })
}

// open returns those who have given a table that nobody has confirmed yet.
func (h *hearsay) open() []suspicion {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []suspicion
	for i := range h.tables {
		all = append(all, suspicion{h.tables[i].from, h.tables[i].addr, "its table is newer than this node's own, and nobody has confirmed it"})
	}
	return all
}

// leaves takes a member's word that this node was removed, and reports whether enough of them have
// given it.
func (h *hearsay) leaves(from raft.NodeID, others int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Contains(h.removed, from) && len(h.removed) < wordsMax {
		h.removed = append(h.removed, from)
	}
	return len(h.removed) >= wordsNeeded(others) || bug(bugOneRemoval)
}

// introduce takes a node for a peer by its own word, and reports whether it was none before.
func (h *hearsay) introduce(id raft.NodeID, in introduction) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, known := h.introduced[id]
	if known && was == in || !known && len(h.introduced) >= introducedMax {
		return false
	}
	if known && was.key != in.key {
		return false // a key is taken once: another needs the table
	}
	if h.introduced == nil {
		h.introduced = make(map[raft.NodeID]introduction)
	}
	h.introduced[id] = in
	return true
}

// key returns the key under which a node has introduced itself.
func (h *hearsay) key(id raft.NodeID) (trust.KeyID, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	in, ok := h.introduced[id]
	return in.key, ok && in.key != (trust.KeyID{})
}

// peers returns members, and those who have introduced themselves and whom the table, if there is one,
// does not know to have left. Who is a member by the table needs no introduction any more.
func (h *hearsay) peers(members []logstore.IdentityMember, t *shardmap.Table) []logstore.IdentityMember {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Clip(members)
	for id, in := range h.introduced {
		member := slices.ContainsFunc(members, func(m logstore.IdentityMember) bool { return m.Node == id })
		if member || t != nil && t.WasRemoved(id) {
			delete(h.introduced, id)
			continue
		}
		all = append(all, logstore.IdentityMember{Node: id, Addr: in.addr})
	}
	slices.SortFunc(all, func(a, b logstore.IdentityMember) int { return cmp.Compare(a.Node, b.Node) })
	return all
}

// problems says what somebody has said, and why this node does not go by it; self is this node's name.
func (h *hearsay) problems(self string, own *shardmap.Table, now time.Time) (list []wire.Problem) {
	h.mu.Lock()
	defer h.mu.Unlock()
	named := func(ids []raft.NodeID) string {
		var names []string
		for _, id := range ids {
			name := id.String()
			if own != nil {
				row, _ := own.Node(id)
				name = cmp.Or(row.Name, name)
			}
			names = append(names, name)
		}
		return strings.Join(names, " and ")
	}
	if len(h.removed) > 0 {
		list = append(list, wire.Problem{What: fmt.Sprintf("node %s says that node %s was removed, and no other member has confirmed it: this node keeps its data, and waits for a second member's word", named(h.removed), self),
			Remedy: "ask another node: muster node list; if it is true, stop this node and empty its directory; if not, see what runs on the one that says so, and remove it"})
	}
	var tellers []raft.NodeID
	for i := range h.tables {
		if own == nil || h.tables[i].index > own.Index {
			tellers = append(tellers, h.tables[i].from)
		}
	}
	if len(tellers) > 0 && now.Sub(h.since) > unconfirmedAfter {
		slices.Sort(tellers)
		list = append(list, wire.Problem{What: fmt.Sprintf("node %s has given node %s a table that is newer than its own, and no second member has given the same: this node does not go by it", named(tellers), self),
			Remedy: "wait; if it stays, start other members, so that one of them can confirm it"})
	}
	return list
}
