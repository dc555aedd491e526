package repl

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"muster/raft"
)

// lines keeps what is logged.
type lines struct{ all *[]slog.Record }

func (l lines) Enabled(context.Context, slog.Level) bool { return true }
func (l lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l lines) WithGroup(string) slog.Handler            { return l }
func (l lines) Handle(_ context.Context, r slog.Record) error {
	*l.all = append(*l.all, r)
	return nil
}

// of returns the fields of the lines about a group with a message.
func (l lines) of(message string, g raft.GroupID) (found []map[string]any) {
	for _, r := range *l.all {
		fields := map[string]any{}
		r.Attrs(func(a slog.Attr) bool {
			fields[a.Key] = a.Value.Any()
			return true
		})
		if r.Message == message && fields["group"] == g {
			found = append(found, fields)
		}
	}
	return found
}

// What a group waited for while it had no leader stands in one line of the replica that
// leads next and in one of each that follows it. The doubt is about the parts: they come
// from events between turns, and must add up to the whole.
func TestElectionsAreLogged(t *testing.T) {
	const group = 1
	for _, test := range []struct {
		name string
		gone func(c *cluster, lead *testNode)
		lost miss
		rest bool // the group does when it happens
	}{
		{"the connection closes", func(c *cluster, lead *testNode) {
			lead.stop()
			for _, n := range c.nodes {
				if n != lead {
					n.host.PeerLost(lead.id)
				}
			}
		}, missClosed, false},
		{"it is cut off", func(c *cluster, lead *testNode) { lead.stop() }, missSilent, false},
		{"it hands over", func(c *cluster, lead *testNode) { lead.host.HandOver() }, missAsked, false},
		{"its node no longer names the group", func(c *cluster, lead *testNode) { lead.host.Retire(lead.replica().replica) }, missRest, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := written(t, 77, 10)
			if test.rest {
				c.until("all groups rest", c.resting)
			}
			logs := map[*testNode]lines{}
			for _, n := range c.nodes {
				logs[n] = lines{new([]slog.Record)}
				n.host.cfg.Log = slog.New(logs[n])
			}
			lead := c.leadsNow(group)
			term := lead.host.groups[group].state.Term
			test.gone(c, lead)
			var next, other *testNode
			c.until("another one leads and is followed", func() bool {
				next, other = nil, nil
				for _, n := range c.nodes {
					if n == lead || n.host == nil {
						continue
					}
					switch g := n.host.groups[group]; {
					case g.state.Term == term || g.lead == 0:
					case g.role != raft.RoleLeader:
						other = n
					case g.applied.Term == g.state.Term:
						next = n
					}
				}
				return next != nil && other != nil
			})
			wins := logs[next].of("group leads", group)
			if len(wins) != 1 {
				t.Fatalf("%d lines say that it leads, want 1: %v", len(wins), wins)
			}
			won := wins[0]
			if won["lost"] != test.lost || won["from"] != lead.id {
				t.Errorf("it lost n%v by %q, want n%v by %q", won["from"], won["lost"], lead.id, test.lost)
			}
			var sum time.Duration
			for _, part := range []string{"ask", "prevote", "votes", "entry"} {
				took := won[part].(time.Duration)
				if took < 0 {
					t.Errorf("%s took %v", part, took)
				}
				sum += took
			}
			whole := won["without"].(time.Duration)
			if whole <= 0 || (sum-whole).Abs() > 50*time.Microsecond { // all are rounded
				t.Errorf("the parts add up to %v of %v: %v", sum, whole, won)
			}
			if own := won["vote_sync"].(time.Duration); own < 0 || own > won["votes"].(time.Duration) {
				t.Errorf("its own vote took %v of %v", own, won["votes"])
			}
			if own := won["entry_sync"].(time.Duration); own < 0 || own > won["entry"].(time.Duration) {
				t.Errorf("its entry took %v of %v", own, won["entry"])
			}
			if rounds := won["rounds"].(int64); (rounds > 0) != (test.lost != missAsked) {
				t.Errorf("it asked for pre-votes in %d rounds: %v", rounds, won)
			}
			if last := won["last"]; last == next.id || last == raft.NodeID(0) {
				t.Errorf("the last vote was of %v", last)
			}
			follows := logs[other].of("group has leader", group)
			if !slices.ContainsFunc(follows, func(f map[string]any) bool {
				without, ok := f["without"].(time.Duration)
				return ok && f["leader"] == next.id && f["term"] == won["term"] && without > 0 && f["vote_sync"].(time.Duration) >= 0
			}) {
				t.Errorf("the other says %v", follows)
			}
		})
	}
}
