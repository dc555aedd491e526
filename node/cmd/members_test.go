package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// tableOf makes a table of nodes that are called by names, with ids from 1 on.
func tableOf(index uint64, names ...string) *shardmap.Table {
	t := &shardmap.Table{Index: index}
	for i, name := range names {
		t.Nodes = append(t.Nodes, shardmap.TableNode{ID: raft.NodeID(i + 1), Name: name, Addr: fmt.Sprintf("10.0.0.%d:4166", i+1), Role: shardmap.NodeServer})
	}
	return t
}

// A node is named by what people call it, or by its id where two have one name; what names
// none, or more than one, is refused with what would be right.
func TestMemberNamed(t *testing.T) {
	table := tableOf(1, "n1", "twin", "twin", "0000000000000001")
	for _, tt := range []struct {
		arg    string
		want   raft.NodeID // 0: refused
		status exitStatus
		text   string
	}{
		{arg: "n1", want: 1},
		{arg: "0000000000000002", want: 2},
		{arg: "000000000000000A", status: exitNotFound, text: `node "000000000000000A" is no member of the cluster; muster node list shows who is`},
		{arg: "N1", status: exitNotFound, text: "is no member"},
		{arg: "", status: exitNotFound, text: `node "" is no member`},
		{arg: "twin", status: exitRefused, text: `node "twin": 2 nodes are called that: 0000000000000002 (10.0.0.2:4166), 0000000000000003 (10.0.0.3:4166); give the id of the one that is meant`},
		{arg: "0000000000000001", status: exitRefused, text: "2 nodes are called that"}, // one by its name, one by its id
	} {
		n, err := memberNamed(table, tt.arg)
		switch {
		case tt.want != 0 && (err != nil || n.ID != tt.want):
			t.Errorf("%q: got %v, %v; want node %d", tt.arg, n, err, tt.want)
		case tt.want == 0 && (err == nil || statusOf(err) != tt.status || !strings.Contains(err.Error(), tt.text)):
			t.Errorf("%q: got %v of status %d; want %q of status %d", tt.arg, err, statusOf(err), tt.text, tt.status)
		}
	}
	if _, err := membersNamed(table, []string{"n1", "n1"}); statusOf(err) != exitUsage || !strings.Contains(err.Error(), `node "n1" is given twice`) {
		t.Errorf("twice: %v", err)
	}
}

// asker stands for the nodes of a cluster: it answers who is asked, in order, and notes who
// that was.
type asker struct {
	answers []answerOf
	asked   []string
}

// answerOf is one answer: a table and who leads, or an error; after a while.
type answerOf struct {
	table  *shardmap.Table
	leader raft.NodeID
	err    error
	after  time.Duration
}

func (a *asker) ask(ctx context.Context, endpoint string) (*shardmap.Table, raft.NodeID, error) {
	a.asked = append(a.asked, endpoint)
	one := a.answers[min(len(a.asked), len(a.answers))-1]
	select {
	case <-time.After(one.after):
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	return one.table, one.leader, one.err
}

var errGone = errors.New("connection refused")

// Whoever waits asks the leader of the meta group, which has the newest table; when that
// one dies, or the node that was asked knows no leader, the others in turn. An older table
// is not taken for news.
func TestTablesOutliveNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		five, six := tableOf(5, "n1", "n2", "n3"), tableOf(6, "n1", "n2", "n3")
		a := &asker{answers: []answerOf{
			{table: five, leader: 2},
			{err: errGone},                             // the leader has died
			{table: tableOf(4, "n1"), leader: 0},       // one that is behind, and knows nobody
			{table: five, leader: 0, after: time.Hour}, // one that hangs
			{table: six, leader: 3},
			{table: six, leader: 3},
		}}
		from := &tables{ask: a.ask}
		var got []string
		for range a.answers {
			table, err := from.next(t.Context())
			if err != nil {
				got = append(got, err.Error())
			} else {
				got = append(got, fmt.Sprint(table.Index))
			}
		}
		if want := []string{"5", "connection refused", "5", "context deadline exceeded", "6", "6"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if want := []string{"", "10.0.0.2:4166", "10.0.0.1:4166", "10.0.0.2:4166", "10.0.0.3:4166", "10.0.0.3:4166"}; !slices.Equal(a.asked, want) {
			t.Errorf("asked %q, want %q", a.asked, want)
		}
	})
}
