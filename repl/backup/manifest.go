package backup

import (
	"encoding/json"
	"fmt"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// Format is the newest format that this code reads, and the one that it writes.
const Format = 1

// Manifest says what is in a backup.
type Manifest struct {
	Cluster   string    `json:"cluster"`
	ClusterID string    `json:"cluster_id"` // 16 hexadecimal digits
	MadeAt    time.Time `json:"made_at"`    // when it was begun, by the clock of the host that took it
	Version   string    `json:"version"`    // of the build that took it
	Groups    []Group   `json:"groups"`     // by number; each slot is of one of them
	// SHA256 is of all bytes before the block of the manifest, in hexadecimal digits.
	SHA256 string `json:"sha256"`
}

// Group says what a backup has of one group.
type Group struct {
	ID          raft.GroupID     `json:"id"`
	Term        uint64           `json:"term"` // Term and Index are the log id as of which it is
	Index       uint64           `json:"index"`
	Incarnation raft.Incarnation `json:"incarnation"`
	Slots       []Run            `json:"slots"`   // that the group served then, in order
	Attempt     uint32           `json:"attempt"` // the one that counts
	Blocks      uint64           `json:"blocks"`  // of that attempt, and what is in them
	Keys        uint64           `json:"keys"`
	Services    uint64           `json:"services"`
	Bytes       uint64           `json:"bytes"`   // of names and values
	Longest     uint64           `json:"longest"` // bytes of the longest value of a key
}

// Run is a run of slots, [from, to].
type Run [2]shardmap.Slot

// At is the log id as of which the group is.
func (g *Group) At() raft.LogID { return raft.LogID{Term: g.Term, Index: g.Index} }

// Add counts a row.
func (g *Group) Add(row *shardmap.BackupRow) {
	g.Bytes += uint64(len(row.Name) + len(row.Value))
	if row.Kind == shardmap.KindService {
		g.Services++
		return
	}
	g.Keys++
	g.Longest = max(g.Longest, uint64(len(row.Value)))
}

// SetSlots sets the slots.
func (g *Group) SetSlots(runs []shardmap.SlotRange) {
	g.Slots = make([]Run, len(runs))
	for i, r := range runs {
		g.Slots[i] = Run{r.From, r.To}
	}
}

// Runs returns the slots.
func (g *Group) Runs() []shardmap.SlotRange {
	runs := make([]shardmap.SlotRange, len(g.Slots))
	for i, r := range g.Slots {
		runs[i] = shardmap.SlotRange{From: r[0], To: r[1]}
	}
	return runs
}

// Keys returns how many keys there are in all groups, Services how many services, and Bytes how many
// bytes their names and values have.
func (m *Manifest) Keys() (n uint64) { return m.total(func(g *Group) uint64 { return g.Keys }) }

// Services is beside Keys.
func (m *Manifest) Services() (n uint64) { return m.total(func(g *Group) uint64 { return g.Services }) }

// Bytes is beside Keys.
func (m *Manifest) Bytes() (n uint64) { return m.total(func(g *Group) uint64 { return g.Bytes }) }

// Longest returns how many bytes the longest value of a key has.
func (m *Manifest) Longest() (n uint64) {
	for i := range m.Groups {
		n = max(n, m.Groups[i].Longest)
	}
	return n
}

func (m *Manifest) total(of func(*Group) uint64) (n uint64) {
	for i := range m.Groups {
		n += of(&m.Groups[i])
	}
	return n
}

// readManifest reads a manifest, and checks what it says by itself.
func readManifest(b []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("the manifest can't be read: %w", err)
	}
	for i := range m.Groups {
		g := &m.Groups[i]
		if g.ID == 0 || g.ID > raft.GroupMax || i > 0 && g.ID <= m.Groups[i-1].ID {
			return nil, fmt.Errorf("the manifest has group %d in place %d; want groups of 1 to %d, in order", g.ID, i, raft.GroupMax)
		}
		for j, r := range g.Slots {
			if r[0] > r[1] || r[1] >= shardmap.Slots || j > 0 && r[0] <= g.Slots[j-1][1] {
				return nil, fmt.Errorf("the manifest has slots %d-%d of group %d out of order", r[0], r[1], g.ID)
			}
		}
	}
	if missing, twice := Cover(m.Groups); len(missing) > 0 || len(twice) > 0 {
		return nil, fmt.Errorf("the manifest has %d runs of slots that no group has, and %d that several have", len(missing), len(twice))
	}
	return m, nil
}
