package shardmap

import (
	"strings"
	"testing"
)

// What stands in the meta group's log is shown to people who look for a mistake:
// in one line, whatever names somebody has chosen, and never a guess.
func TestDescribeTable(t *testing.T) {
	found, err := AppendFound(nil, &Found{Cluster: "shop\n", ClusterID: 0xc1, Level: 1, Groups: 8,
		Nodes: []FoundNode{{ID: 7, Addr: "10.0.0.1:4166", Role: NodeServer, Level: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	announce, err := AppendAnnounce(nil, &Announce{Node: 7, Start: 3, Addr: "10.0.0.1:4166", Name: strings.Repeat("n", 200), Version: "0.1.0", Level: 2})
	if err != nil {
		t.Fatal(err)
	}
	lines := []struct {
		payload []byte
		want    string
	}{
		{found, `found cluster "shop\n" id 00000000000000c1 level 1 groups 8 nodes 1: 0000000000000007 at "10.0.0.1:4166"`},
		{announce, `announce node 0000000000000007 name "` + strings.Repeat("n", describedBytes) + `"… at "10.0.0.1:4166" version "0.1.0" start 3 level 2`},
	}
	for i, want := range []string{
		`join node 0000000000000007 name "n7" at "10.0.0.7:4166" role server version "0.1.0" start 1 level 10`,
		`members g1 incarnation 3 seen 2.9 next 5 replicas 2: voter 1 on 0000000000000061, learner 4 on 0000000000000062`,
		`leave node 0000000000000061`,
		`drain node 0000000000000061 on`,
		`drain node 0000000000000061 off`,
		`label node 0000000000000061 labels 2: "zone"="b", "rack"=""`,
		`setting "replicas" "5"`,
		`prefer g1 node 0000000000000061 pinned`,
		`job remove node 0000000000000061 force`,
		`job role node 0000000000000061 client`,
		`job add g1 node 0000000000000061`,
		`job balance`,
		`job state 12 cancelled why "no longer wanted"`,
		`job progress 12 done 2 of 3 why "g4 gets a replica on n7"`,
		`job move slots 0-99 to g2, 4095-4095 to g1`,
		`move begin job 20 slots 0-63, 4095-4095 to g2 if empty`,
		`move record slots 0-63 of 21`,
		`move cancel slots 0-63 of 21`,
		`move close slots 0-63 of 21 taken, 7-7 of 22 not empty`,
		`group create of the lowest new id`,
		`group create g9 away: 0000000000000061, 0000000000000062`,
		`group remove g9`,
		`weight node 0000000000000061 50`,
		`job bytes 20 done 3 of 64, 1048576 of 2097152 bytes why "slot 3 moves"`,
		`job delete prefix "cart/" of 1000000 keys`,
		`job backup scheduled after 0`,
		`errand 20 running node 0000000000000061 done 250000 of 1000000 slot 1024 why ""`,
		`errand 20 done node 0000000000000061 done 3 of 3 file "muster-shop-20261130T120000Z.backup" of 4096 bytes at 1796040000 why ""`,
		`incident g1 replica 2 node 0000000000000062 fenced at 2.9 found comparison parts 2: slot 12, slot 14 what "two slots differ"`,
		`acknowledge incident 30`,
		`acknowledge all incidents`,
		`tls mode both`,
		`root cba1c16035eca570 issuing at 1000 certificate of 13 bytes key of 7 bytes wrapped with 0901000000000000`,
		`pin node 0000000000000061 key 6101000000000000 serial 61020000000000000000000000000000 under cba1c16035eca570 until 5000`,
		`pin node 0000000000000062 key 6201000000000000 serial 62020000000000000000000000000000 under cba1c16035eca570 until 5000`,
		`pin node 0000000000000063 key 6301000000000000 serial 63020000000000000000000000000000 under cba1c16035eca570 until 5000`,
		`pin node 0000000000000064 key 6401000000000000 serial 64020000000000000000000000000000 under cba1c16035eca570 until 5000`,
		`root 3e5ef2fb2a4ade8b trusted at 1000 certificate of 13 bytes key of 7 bytes wrapped with 0902000000000000`,
		`deny certificate 4d000000000000000000000000000000 until 4000 at 3000 why "stolen"`,
		`role create "admin" grants 2: all on "key:", read,admin on "cluster"`,
		`role create "reader" grants 1: read on "key:app/"`,
		`user create "ann" password of 600000 rounds at 2000`,
		`user create "bob" at 2001`,
		`user roles "ann" give 2: "reader", "admin" take 0`,
		`user roles "bob" give 1: "reader" take 0`,
		`token role server uses 2 expires 9000 key 0100000000000000 by 16 at 3000`,
		`token use 20 at 3500 node 0000000000000007 key 0701000000000000 serial 07020000000000000000000000000000 under cba1c16035eca570 until 5000`,
		`token role client uses 1 expires 9000 key 0200000000000000 by 16 at 3000`,
		`token revoke 22`,
		`limit "app/" keys 1000 bytes 1048576 rate 50`,
		`trail node 0000000000000061 lines 12 hash 0500000000000000 at 3000 after 0`,
		`role delete "reader"`,
		`database create "metrics" policy "autogen" duration 0s windows 168h0m0s`,
		`database create "lab" policy "week" duration 168h0m0s windows 24h0m0s shards 2 values 7`,
		`policy create of "metrics" policy "day" duration 24h0m0s windows 1h0m0s`,
		`policy create of "lab" policy "long" duration 0s windows 24h0m0s shards 1 default`,
		`window policy 8 at 18000000000000 shards 2: g1, g2`,
		`window policy 8 at 21600000000000 shards 1: g3`,
		`window policy 6 at 1 shards 3: g1, g2, g3`,
		`window truncate of "metrics" at 23400000000000`,
		`window hide 1: 10 at 108000`,
		`policy create of "lab" policy "brief" duration 1h0m0s windows 1h0m0s`,
		`policy drop of "lab" policy "brief"`,
		`database create "gone" policy "autogen" duration 0s windows 168h0m0s`,
		`database drop "gone"`,
		`policy alter of "lab" policy "week" duration 336h0m0s shards 3`,
		`policy default of "lab" policy "week"`,
		`database alter "lab" series 5 fields 9`,
		`window truncate of all databases at 5`,
		`window drop 2: 10, 11 at 144000`,
	} {
		lines = append(lines, struct {
			payload []byte
			want    string
		}{tableExamples(t)[i], want})
	}
	for _, tt := range lines {
		if got, err := DescribeTable(tt.payload); err != nil || got != tt.want {
			t.Errorf("got %q, %v, want %q", got, err, tt.want)
		}
	}
	for _, bad := range [][]byte{nil, {0xc0}, {0x92, 0x63, 0xc0}, announce[:9]} {
		if got, err := DescribeTable(bad); err == nil {
			t.Errorf("% x: got %q", bad, got)
		}
	}
}
