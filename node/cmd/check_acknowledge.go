package cmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/client"
	"muster/shardmap"
)

type acknowledgedRows struct {
	Acknowledged []incidentRow `json:"acknowledged"`
}

type incidentRow struct {
	ID      string   `json:"id"`
	Group   int      `json:"group"`
	Node    string   `json:"node"`
	Replica string   `json:"replica"`
	At      string   `json:"at"`
	Found   string   `json:"found"`
	Parts   []string `json:"parts"`
	More    uint32   `json:"more"` // further parts
	What    string   `json:"what"`
}

func incidentRowOf(t *shardmap.Table, i *shardmap.Incident) incidentRow {
	name := i.Node.String()
	if n, ok := t.Node(i.Node); ok {
		name = n.Name
	}
	return incidentRow{number(i.ID), int(i.Group), name, number(uint64(i.Replica)), raft.FormatLogID(i.Group, i.At), i.Found.String(),
		shardmap.PartNames(i.Parts), i.PartsMore(), i.What}
}

// acknowledge tells the cluster that a person has seen its incidents, of one group or all.
func acknowledge(con *console, c *cli.Context, only raft.GroupID, one bool) error {
	s, err := con.openBare(c)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := s.table(c.Context)
	if err != nil {
		return err
	}
	over, open := unseen(t, func(g raft.GroupID) bool { return !one || g == only })
	if _, known := t.Group(only); one && !known && len(over) == 0 {
		return noGroup(only)
	}
	for _, i := range open {
		s.warnf("incident %d of group %d is not over: it can be acknowledged when the replica is whole, or removed", i.ID, i.Group)
	}
	rows := acknowledgedRows{Acknowledged: []incidentRow{}}
	for n, i := range over {
		if err := acknowledgeOne(c.Context, s, i.ID); err != nil {
			if n > 0 {
				err = withStatus(exitPartly, "%d of %d are acknowledged; %w", n, len(over), err)
			}
			return err
		}
		rows.Acknowledged = append(rows.Acknowledged, incidentRowOf(t, i))
	}
	if s.json {
		return s.printJSON(rows)
	}
	return printAcknowledged(s, rows.Acknowledged)
}

// unseen are the incidents that nobody has acknowledged, of the groups that are wanted: those that
// are over, and those in which a replica still differs. Each is acknowledged by its number, so that
// none is that the person could not see yet.
func unseen(t *shardmap.Table, wanted func(raft.GroupID) bool) (over, open []*shardmap.Incident) {
	for at := range t.Incidents {
		i := &t.Incidents[at]
		switch {
		case i.Acknowledged || !wanted(i.Group):
		case t.Differs(i):
			open = append(open, i)
		default:
			over = append(over, i)
		}
	}
	return over, open
}

// acknowledgeOne acknowledges one incident, unless the table has dropped it meanwhile.
func acknowledgeOne(ctx context.Context, s *errand, id uint64) error {
	command, err := shardmap.AppendAcknowledge(nil, &shardmap.Acknowledge{ID: id})
	if err != nil {
		return err
	}
	_, err = s.give(ctx, &order{what: fmt.Sprintf("acknowledge incident %d", id), command: command}, 0)
	if errors.Is(err, client.ErrNotFound) {
		return nil
	}
	return err
}

func printAcknowledged(s *errand, rows []incidentRow) error {
	if len(rows) == 0 {
		return s.line("nothing to acknowledge")
	}
	t := newTable(s.out, "INCIDENT", "GROUP", "REPLICA", "NODE", "AT", "FOUND", "IN", "WHAT")
	for i := range rows {
		r := &rows[i]
		t.row(r.ID, number(r.Group), r.Replica, r.Node, r.At, r.Found, orDash(shardmap.ListParts(r.Parts, uint64(r.More))), r.What)
	}
	return t.Flush()
}
