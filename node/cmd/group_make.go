package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

const groupForm = `[{"id":1,"leader":NAME,"term":…,"commit":"g1/2.17","slots":1024,
"replicas":[{"id":…,"node":NAME,"role":"voter"|"learner","match":INDEX,"state":…}]}]`

func groupCreateCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "create", Usage: "make a group, which owns no slots yet", ArgsUsage: "[ID]",
		Description: `Its replicas are made on server nodes that are there and have few, in several zones where
there are some. Waits until it has a leader. ID is a number, 1 to 9999; without one it is the
lowest that no group has had. "muster slot move" and "muster slot rebalance" give it slots.

With -o json its row, as "group list" prints it: ` + groupForm,
		Action: con.action(groupCreate),
	})
}

func groupRemoveCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "remove", Usage: "remove a group that owns no slots", ArgsUsage: "ID",
		Description: `Shows the plan first, and wants --yes. Its replicas are deleted, and what they took on disk
is free again. No other group gets its number. A group that owns slots is refused: "muster slot move" takes them to others
first.

With -o json its row, as it was: ` + groupForm,
		Flags:  []cli.Flag{yesFlag()},
		Action: con.action(groupRemove),
	})
}

func groupCreate(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	id, what := raft.GroupID(0), "create a group"
	if c.Args().Present() {
		var err error
		if id, err = dataGroupNamed(c.Command.HelpName, c.Args().First()); err != nil {
			return err
		}
		what = fmt.Sprintf("create group %d", id)
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	before, err := s.table(c.Context)
	if err != nil {
		return err
	}
	command, err := shardmap.AppendGroupCreate(nil, &shardmap.GroupCreate{Group: id})
	if err != nil {
		return err
	}
	a, err := s.give(c.Context, &order{what: what, command: command}, 0)
	if err != nil && !errors.Is(err, client.ErrMaybeApplied) {
		return err
	}
	made, found := s.groupMade(c.Context, before, id, a)
	if !found && err != nil {
		return err
	}
	if !found {
		return withStatus(exitNoResult, "the group is made, but no node shows it yet; muster group list shows when one does")
	}
	row, err := s.groupLed(c.Context, made)
	if err != nil {
		return err
	}
	return printGroups(s, []groupRow{row})
}

// groupMade returns the group that an order made: one that was not in the table before. a
// is the order's answer; nil if it was sent and not answered, for its leader may have died
// with the answer.
func (s *errand) groupMade(ctx context.Context, before *shardmap.Table, id raft.GroupID, a *wire.OrderAnswer) (made shardmap.TableGroup, found bool) {
	err := s.until(ctx, func(t *shardmap.Table) glance {
		i := slices.IndexFunc(t.Groups, func(g shardmap.TableGroup) bool {
			if a != nil {
				return uint64(g.Incarnation) == a.Index
			}
			return uint64(g.Incarnation) > before.Index && (id == 0 || g.ID == id)
		})
		if found = i >= 0; found {
			made = t.Groups[i]
		}
		return glance{over: found}
	}, waitAsLongAsACall)
	return made, found && err == nil
}

// groupLed waits until a group has a leader, and returns its row.
func (s *errand) groupLed(ctx context.Context, g shardmap.TableGroup) (groupRow, error) {
	began := time.Now()
	for pause := pauseMin; ; pause = min(2*pause, pauseMax) {
		rows, err := s.groupRows(ctx)
		if i := slices.IndexFunc(rows, func(r groupRow) bool { return r.ID == int(g.ID) && r.Leader != "" }); err == nil && i >= 0 {
			return rows[i], nil
		}
		if ctx.Err() != nil || time.Since(began) >= s.timeout {
			return groupRow{}, withStatus(exitNoResult, "group %d is made, but has no leader yet; muster group list shows when it has one", g.ID)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func groupRemove(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	id, err := dataGroupNamed(c.Command.HelpName, c.Args().First())
	if err != nil {
		return err
	}
	s, t, err := con.orderlyTable(c)
	if err != nil {
		return err
	}
	defer s.close()
	command, err := shardmap.AppendGroupRemove(nil, &shardmap.GroupRemove{Group: id})
	if err != nil {
		return err
	}
	o := order{what: fmt.Sprintf("remove group %d", id), command: command}
	rows := []groupRow{}
	if _, err := s.plan(c.Context, &o); err != nil {
		return err // it is refused: nobody is asked for the group's row
	}
	if g, ok := t.Group(id); ok {
		o.notes = []string{removalOf(t, &g)}
		if rows, err = s.groupRows(c.Context); err != nil {
			return err
		}
	}
	a, err := s.carryOut(c.Context, &o, s.agreed)
	if errors.Is(err, client.ErrMaybeApplied) && s.groupGone(c.Context, id) {
		a, err = new(wire.OrderAnswer), nil
	}
	if err != nil {
		return err
	}
	_ = s.until(c.Context, func(t *shardmap.Table) glance { return glance{over: t.Index >= a.Index} }, waitAsLongAsACall) // so that the next command sees it
	return printGroups(s.errand, slices.DeleteFunc(rows, func(r groupRow) bool { return r.ID != int(id) }))
}

// groupGone reports whether no group has the id, after an order that was sent and not
// answered.
func (s *errand) groupGone(ctx context.Context, id raft.GroupID) (gone bool) {
	err := s.until(ctx, func(t *shardmap.Table) glance {
		_, there := t.Group(id)
		gone = !there
		return glance{over: gone}
	}, waitAsLongAsACall)
	return gone && err == nil
}

// removalOf is what it means to remove a group, for its plan.
func removalOf(t *shardmap.Table, g *shardmap.TableGroup) string {
	var names []string
	for _, r := range g.Replicas {
		name := r.Node.String()
		if n, ok := t.Node(r.Node); ok && n.Name != "" {
			name = n.Name
		}
		names = append(names, name)
	}
	return fmt.Sprintf("group %d owns no slots; its replicas, on %s, are deleted", g.ID, strings.Join(names, ", "))
}
