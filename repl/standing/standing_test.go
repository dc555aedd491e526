package standing

import (
	"testing"

	"muster/raft"
	"muster/repl/trust"
	"muster/shardmap"
)

// The cluster of these tests has nodes 1 to 3, whose keys the table pins, and node 4, whose key it does not have;
// node 5 was removed. The pinned certificate of node 3 was denied.
const (
	away     = raft.NodeID(2)
	denied   = raft.NodeID(3)
	unpinned = raft.NodeID(4)
	left     = raft.NodeID(5)

	clusterID = 77
)

var (
	believed = trust.RootID{1}
	retired  = trust.RootID{2}
	wrongKey = trust.KeyID{99}
)

func keyOf(n raft.NodeID) trust.KeyID { return trust.KeyID{byte(n)} }

func tableIn(mode shardmap.TLSMode) *shardmap.Table {
	t := &shardmap.Table{Cluster: "test", ClusterID: clusterID, Index: 7, Removed: []raft.NodeID{left}}
	t.Security.Mode = mode
	for n := raft.NodeID(1); n <= unpinned; n++ {
		t.Nodes = append(t.Nodes, shardmap.TableNode{ID: n})
		if n != unpinned {
			t.Security.Pins = append(t.Security.Pins, shardmap.Pin{Node: n, Key: shardmap.KeyID(keyOf(n)), Serial: shardmap.Serial{byte(n)}})
		}
	}
	t.Security.Denied = []shardmap.Denial{{Serial: shardmap.Serial{byte(denied)}}}
	return t
}

// view is what node 1 knows, in a cluster that goes by certificates alone and has a leader, changed in some ways.
func view(changes ...func(*View)) *View {
	v := &View{
		Table:    tableIn(shardmap.SecurityOnly),
		Led:      func() bool { return true },
		Believed: func(root trust.RootID) bool { return root == believed },
		Denied:   func(serial trust.Serial) bool { return serial == trust.Serial{byte(denied)} },
	}
	for _, change := range changes {
		change(v)
	}
	return v
}

func bySecretToo(v *View) { v.Table, v.Secret = tableIn(shardmap.SecurityBoth), true }
func ownEnded(v *View)    { v.Ended = true }
func unled(v *View)       { v.Led = func() bool { return false } }
func byCompany(v *View)   { v.Company = true }

// rereads is a node that has been started, and knows of its table no more than what it sealed.
func rereads(v *View) {
	v.Table, v.Sealed = nil, map[raft.NodeID]trust.KeyID{away: keyOf(away)}
}

// introduced is a node to which node 4 has introduced itself.
func introduced(v *View) {
	v.Introduced = func(n raft.NodeID) (trust.KeyID, bool) { return keyOf(n), n == unpinned }
}

// shows is a good certificate of a node, changed in some ways.
func shows(n raft.NodeID, changes ...func(*Shown)) *Shown {
	s := &Shown{Key: keyOf(n), Proven: trust.Proven{
		Name: trust.Name{Cluster: clusterID, Kind: trust.KindNode, Node: n}, Serial: trust.Serial{byte(n)}, Key: keyOf(n), Root: believed,
	}}
	for _, change := range changes {
		change(s)
	}
	return s
}

func ended(s *Shown)    { s.Proven.Expired = true }
func secret(s *Shown)   { s.Secret = true }
func otherKey(s *Shown) { s.Key, s.Proven.Key = wrongKey, wrongKey }
func ofUser(s *Shown) {
	s.Proven.Name = trust.Name{Cluster: clusterID, Kind: trust.KindUser, User: "ann"}
}
func ofOther(s *Shown)    { s.Proven.Name.Cluster++ }
func companys(s *Shown)   { s.Proven.Root, s.Proven.Serial = trust.RootID{}, trust.Serial{} }
func selfMade(s *Shown)   { s.Proven, s.Err, s.SelfMade = trust.Proven{}, trust.ErrFounding, true }
func foreign(s *Shown)    { s.Proven, s.Err = trust.Proven{}, trust.ErrForeign }
func wasDenied(s *Shown)  { s.Proven, s.Err = trust.Proven{}, trust.ErrDenied }
func early(s *Shown)      { s.Proven, s.Err = trust.Proven{}, trust.ErrEarly }
func none(s *Shown)       { *s = Shown{Err: trust.ErrNone} }
func underOther(s *Shown) { s.Proven.Root = retired }

// decided is what a decision came to be, and what it should be.
type decided struct {
	what      string
	got, want Kind
}

// compare returns the first decision that is not as it should be, or "".
func compare(all []decided) string {
	for _, d := range all {
		if d.got != d.want {
			return d.what + ": it is " + d.got.String() + ", want " + d.want.String()
		}
	}
	return ""
}

// A peer comes in a node's name. It must not be taken for that node by less than the key which the table has, and a
// member must get in by that key alone where nobody else could help it.
func TestCame(t *testing.T) {
	if wrong := cameWrong(); wrong != "" {
		t.Error(wrong)
	}
}

func cameWrong() string {
	return compare([]decided{
		{"a member", view().Came(away, shows(away)), Member},
		{"a user", view().Came(away, shows(away, ofUser)), NotNode},
		{"another node", view().Came(away, shows(denied)), OtherNode},
		{"a copy with a key of its own", view().Came(away, shows(away, otherKey)), OtherKey},
		{"the same, while the secret counts too", view(bySecretToo).Came(away, shows(away, otherKey, secret)), OtherKey},
		{"one that was removed", view().Came(left, shows(left)), Left},
		{"one that was removed, by a denied certificate", view().Came(left, shows(left, wasDenied)), Left},
		{"one that was removed, and shows nothing", view().Came(left, shows(left, none)), Nothing},
		{"a stranger's certificate", view().Came(away, shows(away, foreign, otherKey)), Worthless},
		{"a denied certificate of a member", view().Came(away, shows(away, wasDenied)), Worthless},
		{"one of later", view().Came(away, shows(away, early)), Worthless},
		{"a stranger's certificate, by the secret", view(bySecretToo).Came(away, shows(away, foreign, otherKey, secret)), Member},
		{"one whose key the table lacks", view().Came(unpinned, shows(unpinned)), Unpinned},
		{"one that has introduced itself", view(introduced).Came(unpinned, shows(unpinned)), Member},
		{"one whose key the table lacks, while the secret counts too", view(bySecretToo).Came(unpinned, shows(unpinned)), Member},
		{"one that was not sealed, before the table is read", view(rereads).Came(unpinned, shows(unpinned)), Member},
		{"one that was sealed with another key", view(rereads).Came(away, shows(away, otherKey)), OtherKey},
		{"one of a company", view(byCompany).Came(unpinned, shows(unpinned, companys)), Member},
		{"one of a company with a key of its own", view(byCompany).Came(away, shows(away, companys, otherKey)), Member},

		{"an ended certificate", view().Came(away, shows(away, ended)), Renewer},
		{"an ended certificate, where nobody leads", view(unled).Came(away, shows(away, ended)), Member},
		{"an ended certificate, to one whose own has ended", view(ownEnded).Came(away, shows(away, ended)), Member},
		{"an ended certificate of a node without a pin", view(unled).Came(unpinned, shows(unpinned, ended)), Ended},
		{"an ended certificate, by the secret", view(bySecretToo).Came(away, shows(away, ended, secret)), Member},
		{"a member under a retired root", view().Came(away, shows(away, foreign)), Renewer},
		{"a member under a retired root, where nobody leads", view(unled).Came(away, shows(away, foreign)), Member},
		{"a member under a retired root, whose pinned certificate was denied", view(unled).Came(denied, shows(denied, foreign)), Worthless},
		{"a member that lost its certificate", view().Came(away, shows(away, selfMade)), Renewer},
		{"a member that lost its certificate, where nobody leads", view(unled).Came(away, shows(away, selfMade)), Renewer},
		{"a member that lost its key too", view(unled).Came(away, shows(away, selfMade, otherKey)), Nothing},
		{"nothing", view(unled).Came(away, shows(away, none)), Nothing},
		{"nothing, by the secret", view(bySecretToo).Came(away, shows(away, none, secret)), Member},
	})
}

// A node must say nothing to one that is not meant, and must not cut off a member that only this node could help.
func TestDialled(t *testing.T) {
	if wrong := dialledWrong(); wrong != "" {
		t.Error(wrong)
	}
}

func dialledWrong() string {
	return compare([]decided{
		{"the one that is meant", view().Dialled(away, clusterID, shows(away)), Member},
		{"any node", view().Meant(0, clusterID, &shows(away).Proven), Member},
		{"any node, with a key of its own", view().Meant(0, clusterID, &shows(away, otherKey).Proven), OtherKey},
		{"a user", view().Dialled(away, clusterID, shows(away, ofUser)), NotNode},
		{"another cluster", view().Dialled(away, clusterID, shows(away, ofOther)), OtherCluster},
		{"another cluster, before there is a table", view(rereads).Dialled(away, 0, shows(away, ofOther)), Member},
		{"another node", view().Dialled(away, clusterID, shows(denied)), OtherNode},
		{"a copy with a key of its own", view().Dialled(away, clusterID, shows(away, otherKey)), OtherKey},
		{"an ended certificate of a member", view().Dialled(away, clusterID, shows(away, ended)), Member},
		{"an ended certificate of a node without a pin", view().Dialled(unpinned, clusterID, shows(unpinned, ended)), Ended},
		{"a member under a retired root", view().Dialled(away, clusterID, shows(away, foreign)), Member},
		{"a member under a retired root, whose pinned certificate was denied", view().Dialled(denied, clusterID, shows(denied, foreign)), Worthless},
		{"a stranger's certificate", view().Dialled(away, clusterID, shows(away, foreign, otherKey)), Worthless},
		{"a stranger's certificate, while the secret counts", view(bySecretToo).Dialled(away, clusterID, shows(away, foreign, otherKey)), Unproven},
		{"a denied certificate, while the secret counts", view(bySecretToo).Dialled(away, clusterID, shows(away, wasDenied)), Worthless},
		{"a host without a cluster", view().Dialled(away, clusterID, shows(away, selfMade, otherKey)), Wiped},
		{"a host without a cluster, while the secret counts", view(bySecretToo).Dialled(away, clusterID, shows(away, selfMade, otherKey)), Unproven},
		{"a member that lost its certificate", view().Dialled(away, clusterID, shows(away, selfMade)), Worthless},
	})
}

// A connection must not outlive what let it in.
func TestRevoked(t *testing.T) {
	if wrong := revokedWrong(); wrong != "" {
		t.Error(wrong)
	}
}

func revokedWrong() string {
	return compare([]decided{
		{"a member", view().Revoked(&shows(away).Proven), Member},
		{"a user", view().Revoked(&shows(away, ofUser).Proven), Member},
		{"a denied certificate", view().Revoked(&shows(denied).Proven), Denied},
		{"a user under a retired root", view().Revoked(&shows(away, ofUser, underOther).Proven), Retired},
		{"a member under a retired root", view().Revoked(&shows(away, underOther).Proven), Retired},
		{"another key than is pinned now", view().Revoked(&shows(away, otherKey).Proven), OtherKey},
		{"a node that has left", view().Revoked(&shows(left).Proven), Unpinned},
		{"a node without a pin, while the secret counts too", view(bySecretToo).Revoked(&shows(unpinned).Proven), Member},
		{"a company's", view(byCompany).Revoked(&shows(unpinned, companys).Proven), Member},
	})
}

// Certificates alone count from the moment at which the disk says so, whatever older table is read afterwards.
func TestSealedForGood(t *testing.T) {
	older := tableIn(shardmap.SecurityBoth)
	v := view(rereads)
	for _, table := range []*shardmap.Table{nil, older} {
		v.Table = table
		if !v.Only() || !v.Reads() {
			t.Errorf("with table %v: only by certificates %t, reads its table %t", table != nil, v.Only(), v.Reads())
		}
		if key, ok := v.Pin(away); !ok || key != keyOf(away) {
			t.Errorf("with table %v: the key of a member is %v, %t", table != nil, key, ok)
		}
		if _, ok := v.Pin(denied); ok {
			t.Errorf("with table %v: a member has a key that was not sealed", table != nil)
		}
	}
	v.Table = tableIn(shardmap.SecurityOnly)
	if v.Reads() {
		t.Error("it reads its table still, once that says so too")
	}
}
