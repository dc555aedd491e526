package cmd

import (
	"context"
	"fmt"
	"path"

	"github.com/urfave/cli/v2"

	"muster/node/trail"
	"muster/repl/wire"
	"muster/shardmap"
)

func auditVerifyCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "verify", Usage: "look whether a trail was changed", ArgsUsage: "[DIR]",
		Description: `Each line of a trail has the hash of the line before, so that one that was changed, moved,
put in or left out is found by the next. Once a minute a node has the cluster's table
remember its last line: so a trail whose end was cut off, or that was written anew, is
found too.

Without DIR it reads the trails of all nodes, or of the one that --node names, and
compares them with the table. With DIR, a node's data directory, it looks at that alone;
what the cluster knows of it is not asked then.

It names file, line and what is wrong, and ends with status 1 if anything is; with 8 if
a node could not be asked, and nothing is wrong with the others.

With -o json one object per line: {"ok":true,"node":…,"dir":…,"files":N,"lines":N,"first":N,
"last":N,"hash":…,"lost":N,"torn":N,"known":N,"passed":true,"problems":[{"file":…,"line":N,"offset":N,"what":…}],
"more":N,"error":…}. lost is what lines say is missing: it was never written for want of room, or files were
taken away. known is the line that the table has, passed that the chain goes through it.`,
		Flags:  []cli.Flag{&cli.StringFlag{Name: "node", DefaultText: "all", Usage: "`NODE` whose trail it is, by name or id"}},
		Action: con.action(auditVerify),
	})
}

// verdictRow is what was found in one trail.
type verdictRow struct {
	OK       bool             `json:"ok"`
	Node     string           `json:"node,omitempty"`
	Dir      string           `json:"dir,omitempty"`
	Files    uint64           `json:"files"`
	Lines    uint64           `json:"lines"`
	First    uint64           `json:"first"`
	Last     uint64           `json:"last"`
	Hash     string           `json:"hash"`
	Lost     uint64           `json:"lost"`
	Torn     int64            `json:"torn"`
	Known    uint64           `json:"known"`
	Passed   bool             `json:"passed"`
	Problems []verdictProblem `json:"problems"`
	More     uint64           `json:"more,omitempty"`
	Error    string           `json:"error,omitempty"`
}

type verdictProblem struct {
	File   string `json:"file,omitempty"`
	Line   uint64 `json:"line"`
	Offset int64  `json:"offset"`
	What   string `json:"what"`
}

func verdictOf(r *trail.Report, heads []trail.Head) *verdictRow {
	row := &verdictRow{OK: r.OK(), Files: r.Files, Lines: r.Lines, First: r.First, Last: r.Last.Lines, Hash: r.Last.Hash.String(),
		Lost: r.Lost, Torn: r.Torn, Passed: r.Passed > 0, More: r.More, Problems: []verdictProblem{}}
	for _, h := range heads {
		row.Known = h.Lines
	}
	for _, p := range r.Problems {
		row.Problems = append(row.Problems, verdictProblem(p))
	}
	return row
}

func auditVerify(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	if c.NArg() == 1 {
		if c.IsSet("node") {
			return usagef("muster audit verify: DIR and --node contradict each other; want one of them")
		}
		return auditVerifyDir(con, c)
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	rows, err := trails{s}.verify(c.Context, c.String("node"))
	if err != nil {
		return err
	}
	status := exitDone
	for _, row := range rows {
		if err := con.printVerdict(s.json, row); err != nil {
			return err
		}
		switch {
		case len(row.Problems) > 0:
			status = exitRefused
		case row.Error != "" && status == exitDone:
			status = exitPartly
		}
	}
	if status != exitDone {
		return errQuiet(status)
	}
	return nil
}

func auditVerifyDir(con *console, c *cli.Context) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	dir := c.Args().First()
	if err := checkDataDir(dir); err != nil {
		return err
	}
	r, err := trail.Verify(localDisk, path.Join(dir, trail.Dir), nil)
	if err != nil {
		if checkDataDir(path.Join(dir, trail.Dir)) != nil {
			return withStatus(exitNotFound, "%s: there is no trail in it; want a node's data directory, as serve's --data names it", dir)
		}
		return err
	}
	row := verdictOf(&r, nil)
	row.Dir = dir
	if err := con.printVerdict(asJSON, row); err != nil {
		return err
	}
	if !row.OK {
		return errQuiet(exitRefused)
	}
	return nil
}

func (con *console) printVerdict(asJSON bool, row *verdictRow) error {
	if asJSON {
		return con.printJSON(row)
	}
	whose := row.Dir
	if row.Node != "" {
		whose = "node " + row.Node
	}
	if row.Error != "" {
		return con.line("%s: not looked at: %s", whose, row.Error)
	}
	known := ""
	switch {
	case row.Passed:
		known = fmt.Sprintf("; the cluster knows line %d, and the chain goes through it", row.Known)
	case row.Known > 0 && row.OK:
		known = fmt.Sprintf("; the cluster knows line %d, which is older than all that are left", row.Known)
	case row.Node != "" && row.OK:
		known = "; the cluster knows none of it yet"
	}
	if row.Lost > 0 {
		known += fmt.Sprintf("; lines say that %d are missing", row.Lost)
	}
	said := "whole"
	if !row.OK {
		said = fmt.Sprintf("%d wrong", uint64(len(row.Problems))+row.More)
	}
	if err := con.line("%s: %s: lines %d to %d, files: %d%s", whose, said, row.First, row.Last, row.Files, known); err != nil {
		return err
	}
	for _, p := range row.Problems {
		where := ""
		if p.File != "" {
			where = fmt.Sprintf("%s, offset %d: ", p.File, p.Offset)
		}
		if err := con.line("  %s%s", where, p.What); err != nil {
			return err
		}
	}
	return nil
}

// verify looks at the trails of all nodes, or of one.
func (s trails) verify(ctx context.Context, only string) (rows []*verdictRow, err error) {
	// First what the cluster knows, then the lines: the other way about, a node that goes on
	// would look as if its end were cut off.
	var t *shardmap.Table
	err = s.with(ctx, func(ctx context.Context) error {
		t, _, err = s.client.Table(ctx, "")
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if only != "" && n.Name != only && n.ID.String() != only {
			continue
		}
		var heads []trail.Head
		if known, ok := t.Security.Trail(n.ID); ok {
			heads = append(heads, trail.Head{Lines: known.Lines, Hash: known.Hash})
		}
		var row *verdictRow
		if r, err := s.verifyNode(ctx, n, heads); err != nil {
			row = &verdictRow{Problems: []verdictProblem{}, Error: err.Error()}
		} else {
			row = verdictOf(r, heads)
		}
		row.Node = n.Name
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil, withStatus(exitNotFound, "%s: no such node; muster node list shows them", shown([]byte(only)))
	}
	return rows, nil
}

// verifyNode reads all of a node's trail.
func (s trails) verifyNode(ctx context.Context, n *shardmap.TableNode, heads []trail.Head) (*trail.Report, error) {
	v := trail.NewVerifier(heads)
	var from trail.Position
	for {
		a, err := s.page(ctx, n.Addr, wire.Trail{File: from.File, Offset: uint64(from.Offset)})
		if err != nil {
			return nil, err
		}
		if a.Node != n.ID {
			return nil, fmt.Errorf("node %s answers at its address %s", a.Node, n.Addr)
		}
		p := trail.Page{
			From: trail.Position{File: a.File, Offset: int64(a.Offset)}, Next: trail.Position{File: a.NextFile, Offset: int64(a.NextOffset)},
			Bytes: a.Lines, More: a.More, Oldest: a.Oldest,
		}
		v.Page(from, &p)
		if !p.More {
			r := v.End()
			return &r, nil
		}
		if p.Next == from {
			return nil, fmt.Errorf("its pages don't go on: page of file %d, offset %d", from.File, from.Offset)
		}
		from = p.Next
	}
}
