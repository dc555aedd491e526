package cmd

import (
	"context"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

func slotOrderCommand(con *console, kind shardmap.JobKind) *cli.Command {
	name, usage, args, text := "move", "move a slot, or a run of them, to a group", "SLOT|FROM-TO GROUP",
		`Keys, their versions, and what makes retries safe go along. Clients notice nothing but, for a
moment, slower answers.`
	if kind == shardmap.JobAssign {
		name, usage, args, text = "assign", "give slots without keys to a group", "FROM-TO GROUP",
			`Refused where there is a key in one of them; "muster slot move" moves slots with what is in
them.`
	}
	return verb(cli.Command{
		Name: name, Usage: usage, ArgsUsage: args,
		Description: text + `
Begins a job at once and waits for it, with its progress on standard error; "muster job"
pauses or cancels it. The settings slot-rate and slot-parallel bound it. GROUP is a group's
number; "muster group create" makes one.

With -o json the job as it ended: ` + jobForm,
		Flags: []cli.Flag{noWaitFlag(),
			// Nothing is asked here; a script may give it to all that it orders.
			&cli.BoolFlag{Name: "yes", Hidden: true}},
		Action: con.action(slotOrder(kind)),
	})
}

// slotOrder makes the command that begins a job which moves slots to a group.
func slotOrder(kind shardmap.JobKind) func(*console, *cli.Context) error {
	return func(con *console, c *cli.Context) error {
		if err := wantArgs(c, 2, 2); err != nil {
			return err
		}
		slots, err := slotsNamed(c.Command.HelpName, c.Args().First())
		if err != nil {
			return err
		}
		group, err := dataGroupNamed(c.Command.HelpName, c.Args().Get(1))
		if err != nil {
			return err
		}
		s, t, err := con.orderlyTable(c)
		if err != nil {
			return err
		}
		defer s.close()
		o, err := slotsTo(c.Command.Name, kind, t, []shardmap.SlotTarget{{SlotRange: slots, To: group}})
		if err != nil {
			return err
		}
		o.what += fmt.Sprintf(" %s to group %d", slots.Text(), group)
		if kind == shardmap.JobAssign {
			if err := s.wantEmpty(c.Context, &o, t, slots, group); err != nil {
				return err
			}
		}
		index := uint64(0)
		if s.call.asksForPlan() {
			if index, err = s.agreedMove(c.Context, &o, t, shardmap.SlotTarget{SlotRange: slots, To: group}); err != nil {
				return err
			}
		}
		a, err := s.give(c.Context, &o, index)
		if err != nil {
			return err
		}
		return s.finish(s.attend(c.Context, a))
	}
}

// slotsTo makes the order of a job that moves slots.
func slotsTo(verb string, kind shardmap.JobKind, t *shardmap.Table, targets []shardmap.SlotTarget) (order, error) {
	command, err := shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: kind, Targets: targets})
	since := t.Index
	return order{what: verb, command: command, made: func(j *shardmap.Job) bool {
		if j.ID <= since || j.Kind != kind {
			return false
		}
		// What a finished one moved is forgotten. No two unfinished ones move the same slot.
		to, ok := j.Target(targets[0].SlotRange.From)
		return j.State.Finished() || ok && to.To == targets[0].To
	}}, err
}

// agreedMove shows the plan of a move of slots where a request asks for it, and returns the index of the table that it
// was made for. On a command line nobody is asked: a move puts no majority at risk, and can be undone.
func (s *orderly) agreedMove(ctx context.Context, o *order, t *shardmap.Table, to shardmap.SlotTarget) (uint64, error) {
	p, err := s.plan(ctx, o)
	if err != nil {
		return 0, err
	}
	targets := runsOf(t, to)
	o.notes = rebalanceShown(t, s.knownViews(ctx, t, to.SlotRange), targets)
	for _, g := range groupsIn(targets) {
		if tg, ok := t.Group(g); ok {
			voters := len(voterNames(t, &tg))
			o.notes = append(o.notes, fmt.Sprintf("group %d: %d of %d voters are its quorum, before and after", g, voters/2+1, voters))
		}
	}
	for _, x := range targets {
		o.binds = fmt.Appendf(o.binds, "%s %d %d;", x.SlotRange.Short(), x.From, x.To)
	}
	s.propose(o.proposal(p))
	if !s.agrees(ctx) {
		return 0, notConfirmed()
	}
	return p.Index, nil
}

// runsOf are the parts of a run of slots that other groups own than the one that they are to go to.
func runsOf(t *shardmap.Table, to shardmap.SlotTarget) (runs []shardmap.SlotTarget) {
	for at := to.SlotRange.From; at <= to.SlotRange.To; at++ {
		from := t.Slots[at]
		last := len(runs) - 1
		switch {
		case from == to.To:
		case last >= 0 && runs[last].From == from && runs[last].SlotRange.To+1 == at:
			runs[last].SlotRange.To = at
		default:
			runs = append(runs, shardmap.SlotTarget{SlotRange: shardmap.SlotRange{From: at, To: at}, From: from, To: to.To})
		}
	}
	return runs
}

// groupsIn are the groups that targets name, ascending.
func groupsIn(targets []shardmap.SlotTarget) (groups []raft.GroupID) {
	for _, x := range targets {
		groups = append(groups, x.From, x.To)
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// wantEmpty refuses an assignment of slots with something in them. The groups look again
// when they hand a slot over; but then others of the run may have gone before.
func (s *orderly) wantEmpty(ctx context.Context, o *order, t *shardmap.Table, slots shardmap.SlotRange, group raft.GroupID) error {
	if _, err := s.plan(ctx, o); err != nil {
		return err // whatever is in the slots
	}
	views := s.knownViews(ctx, t, slots)
	if e := filledSlots(t, views, slots, group); e != nil {
		return fmt.Errorf("%s: %w", o.what, e)
	}
	return nil
}

// filledSlots is the refusal of an assignment of slots of which some have something in them;
// nil if none has, as far as is known.
func filledSlots(t *shardmap.Table, views *slotViews, slots shardmap.SlotRange, group raft.GroupID) *wire.Error {
	var filled []*shardmap.SlotView
	for at := slots.From; at <= slots.To; at++ {
		if v := views.of[at]; v != nil && v.Bytes+v.Keys > 0 && t.Slots[at] != group {
			filled = append(filled, v)
		}
	}
	if len(filled) == 0 {
		return nil
	}
	more := ""
	if n := len(filled) - 1; n > 0 {
		more = fmt.Sprintf(", and %d more have some", n)
	}
	return &wire.Error{Code: wire.CodeConflict, Object: "slot " + number(filled[0].Slot), Text: "refused, nothing was changed",
		State: fmt.Sprintf("it has %s%s", keysText(filled[0].Keys), more), Next: fmt.Sprintf("move slots with what is in them: muster slot move %s %d", slots.Short(), group)}
}

// keysText is so many keys for a sentence.
func keysText(n uint64) string {
	if n == 1 {
		return "1 key"
	}
	return fmt.Sprintf("%d keys", n)
}
