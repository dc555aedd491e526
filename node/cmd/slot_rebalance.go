package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/plan"
)

func slotRebalanceCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "rebalance", Usage: "move slots until each group has the part that its nodes should hold",
		Description: `Shows the plan first, and wants --yes: which slots move where, and what each group and each
node holds before and after. It evens out bytes, by the weights of the nodes that hold the
groups' voters ("muster node weight"), and moves no more slots than that takes. A slot counts
as 4 KiB at least; slots that are moving are left alone, and count as moved. Where there is nothing to do it says so and ends with 0.

The job goes on without this command; "muster job" pauses or cancels it. The settings
slot-rate and slot-parallel bound it.

With -o json the job as it ended: ` + jobForm,
		Flags:  orderFlags(),
		Action: con.action(slotRebalance),
	})
}

func slotRebalance(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	s, err := con.orderly(c)
	if err != nil {
		return err
	}
	defer s.close()
	for try := 1; ; try++ {
		a, err := s.rebalance(c.Context)
		if s.agreed == consentGiven && try < ordersMax && errors.Is(err, client.ErrConflict) {
			continue // slots have moved since they were counted, and --yes is meant for any plan
		}
		if err != nil || a == nil {
			return err
		}
		return s.finish(s.attend(c.Context, a))
	}
}

// rebalance plans, shows the plan, and has it carried out if a person agrees. There is no
// answer if there is nothing to do.
func (s *orderly) rebalance(ctx context.Context) (*wire.OrderAnswer, error) {
	t, err := s.table(ctx)
	if err != nil {
		return nil, err
	}
	views, silent := s.slotViews(ctx, t, allSlots)
	if len(silent) > 0 {
		return nil, notCounted(silent)
	}
	var targets []shardmap.SlotTarget
	if text := s.call.carried(); text != "" {
		// Sizes change all the time, and with them what would be planned now. The cluster refuses it if slots have moved.
		if targets, err = readTargets(text); err != nil {
			return nil, err
		}
	} else {
		made := plan.Slots(t, views.counts(), plan.SlotSettings{})
		if targets = made.Targets; len(targets) == 0 {
			s.sayf("nothing to rebalance: %s; nothing was changed", whyBalanced(&made))
			return nil, nil
		}
	}
	o, err := slotsTo("rebalance", shardmap.JobRebalance, t, targets)
	if err != nil {
		return nil, err
	}
	o.notes, o.carries = rebalanceShown(t, views, targets), targetsText(targets)
	a, err := s.carryOut(ctx, &o, s.agreed)
	if err != nil || a.Job == 0 {
		return nil, err
	}
	return a, nil
}

// targetsText is targets for a token, which [readTargets] reads: "0-99:1:2_512:3:2".
func targetsText(targets []shardmap.SlotTarget) string {
	parts := make([]string, len(targets))
	for i, x := range targets {
		parts[i] = fmt.Sprintf("%s:%d:%d", x.SlotRange.Short(), x.From, x.To)
	}
	return strings.Join(parts, "_")
}

func readTargets(text string) (targets []shardmap.SlotTarget, err error) {
	const what = "plan_token"
	for part := range strings.SplitSeq(text, "_") {
		words := strings.Split(part, ":")
		if len(words) != 3 || len(targets) == shardmap.Slots {
			return nil, usagef("%s: it is none that a plan has given", what)
		}
		var x shardmap.SlotTarget
		if x.SlotRange, err = slotsNamed(what, words[0]); err == nil {
			if x.From, err = dataGroupNamed(what, words[1]); err == nil {
				x.To, err = dataGroupNamed(what, words[2])
			}
		}
		if err != nil {
			return nil, err
		}
		targets = append(targets, x)
	}
	return targets, nil
}

// notCounted refuses a plan that would not know what some groups hold. The first of them
// says why, and gives the status.
func notCounted(silent []silentGroup) error {
	if silent[0].group == 0 {
		return fmt.Errorf("rebalance: nothing was changed: the plan goes by how much is in the slots, and that is not known: %w", silent[0].why)
	}
	more := ""
	if n := len(silent) - 1; n > 0 {
		more = fmt.Sprintf(", nor that of %d more", n)
	}
	return fmt.Errorf("rebalance: nothing was changed: the plan goes by how much is in the slots, and that of group %d is not known%s: %w", silent[0].group, more, silent[0].why)
}

// whyBalanced says why a plan moves nothing.
func whyBalanced(p *plan.SlotPlan) string {
	switch {
	case len(p.Shares) == 1:
		return "there is one group, and it has all slots; muster group create makes another"
	case !p.Weighed:
		return "each group has a voter on a node of weight 0, so none should hold more than another; muster node weight changes that"
	}
	return "no move of a slot would bring the groups nearer to what their nodes should hold"
}

// counts are what the slots have in them, as the plan wants to know it.
func (v *slotViews) counts() []plan.SlotCount {
	var counts []plan.SlotCount
	for s, view := range v.of {
		if view != nil {
			counts = append(counts, plan.SlotCount{Slot: shardmap.Slot(s), Keys: view.Keys, Bytes: view.Bytes})
		}
	}
	return counts
}

// load is how much is somewhere, before and after.
type load struct{ slots, keys, bytes [2]uint64 }

const (
	before = iota
	after
)

// add counts a slot in.
func (l *load) add(when int, v *shardmap.SlotView) {
	l.slots[when]++
	if v != nil {
		l.keys[when] += v.Keys
		l.bytes[when] += v.Bytes
	}
}

// cells are the load in a table.
func (l *load) cells() []string {
	return []string{number(l.slots[before]), number(l.slots[after]), showBytes(l.bytes[before]), showBytes(l.bytes[after])}
}

// rebalanceShown is a plan for a person: how much moves, what groups and nodes hold before
// and after, and the runs that move.
func rebalanceShown(t *shardmap.Table, views *slotViews, targets []shardmap.SlotTarget) []string {
	to := t.Slots
	var moves load
	onTheWay := 0
	for i := range t.Jobs {
		for _, x := range t.Jobs[i].Targets {
			for s := x.SlotRange.From; s <= x.SlotRange.To; s++ {
				if to[s] != x.To {
					to[s] = x.To
					onTheWay++
				}
			}
		}
	}
	for _, x := range targets {
		for s := x.SlotRange.From; s <= x.SlotRange.To; s++ {
			to[s] = x.To
			moves.add(before, views.of[s])
		}
	}
	groups := map[raft.GroupID]*load{}
	for i := range t.Groups {
		groups[t.Groups[i].ID] = new(load)
	}
	for s := range shardmap.Slot(shardmap.Slots) {
		if l := groups[t.Slots[s]]; l != nil {
			l.add(before, views.of[s])
		}
		if l := groups[to[s]]; l != nil {
			l.add(after, views.of[s])
		}
	}
	lines := []string{fmt.Sprintf("%d of %d slots move, with %s and %s", moves.slots[before], shardmap.Slots, keysText(moves.keys[before]), showBytes(moves.bytes[before]))}
	if onTheWay > 0 {
		lines = append(lines, fmt.Sprintf("%s under way already, by other jobs, and counted as done", movesAre(onTheWay)))
	}
	lines = append(lines, shownTable(func(out *output) *table {
		by := newTable(out, "GROUP", "SLOTS", "AFTER", "BYTES", "AFTER", "NODES")
		for i := range t.Groups {
			g := &t.Groups[i]
			by.row(slices.Concat([]string{number(int(g.ID))}, groups[g.ID].cells(), []string{orDash(strings.Join(voterNames(t, g), ","))})...)
		}
		return by
	})...)
	lines = append(lines, shownTable(func(out *output) *table {
		by := newTable(out, "NODE", "WEIGHT", "SLOTS", "AFTER", "BYTES", "AFTER")
		for i := range t.Nodes {
			n := &t.Nodes[i]
			var l load
			for j := range t.Groups {
				g := &t.Groups[j]
				if slices.ContainsFunc(g.Replicas, func(r shardmap.TableReplica) bool { return r.Node == n.ID && r.Role == shardmap.ReplicaVoter }) {
					l.join(groups[g.ID])
				}
			}
			by.row(slices.Concat([]string{orDash(n.Name), number(n.Weight)}, l.cells())...)
		}
		return by
	})...)
	for _, x := range targets[:min(len(targets), stepsShown)] {
		lines = append(lines, fmt.Sprintf("%s: from group %d to group %d", x.SlotRange.Text(), x.From, x.To))
	}
	if more := len(targets) - stepsShown; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more runs of slots", more))
	}
	return lines
}

func movesAre(n int) string {
	if n == 1 {
		return "the move of 1 slot is"
	}
	return fmt.Sprintf("moves of %d slots are", n)
}

// join adds another load.
func (l *load) join(o *load) {
	for when := range l.slots {
		l.slots[when] += o.slots[when]
		l.keys[when] += o.keys[when]
		l.bytes[when] += o.bytes[when]
	}
}

// voterNames are the nodes that hold a group's voters.
func voterNames(t *shardmap.Table, g *shardmap.TableGroup) (names []string) {
	for _, r := range g.Replicas {
		if n, ok := t.Node(r.Node); ok && r.Role == shardmap.ReplicaVoter {
			names = append(names, n.Name)
		}
	}
	return names
}

// shownTable is a table as lines.
func shownTable(fill func(*output) *table) []string {
	var b bytes.Buffer
	out := newOutput(&b)
	_ = fill(out).Flush() // into memory
	_ = out.Flush()
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}
