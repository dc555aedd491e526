package cmd

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/rescue"
)

func recoverCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "recover", Usage: "make a cluster of what is left when a majority is gone for good"},
		recoverInspectCommand(con), recoverPlanCommand(con), recoverApplyCommand(con))
}

const recoverOrder = `The order, all of it with the nodes stopped: inspect on each survivor, plan once with
the files of all of them, apply that one plan on each survivor, then start them.`

func recoverInspectCommand(con *console) *cli.Command {
	return localVerb(cli.Command{
		Name: "inspect", Usage: "say what one survivor has", Description: recoverOrder + `

Reads the data directory of a node that is stopped, changes nothing, and writes a
file for "recover plan": of each group how far its log reaches, who is a member by
that log, how many keys there are, and what is damaged. It takes as long as a start
of the node. A directory from which nothing can be read is refused: leave it out.

The file is JSON with a checksum, on standard output, or in --out, and then a table
says what is in it.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Value: dataDefault(), Usage: "the node's data directory `DIR`"},
			&cli.StringFlag{Name: "out", Usage: "write the new `FILE`"},
		},
		Action: con.action(recoverInspect),
	})
}

func recoverPlanCommand(con *console) *cli.Command {
	return localVerb(cli.Command{
		Name: "plan", Usage: "decide what the survivors' cluster begins with", ArgsUsage: "FILE…", Description: recoverOrder + `

Takes the files of all survivors and makes one plan. Each node without a file
counts as gone for good: it never comes back with its old data. A group of which a
majority of the voters survives is kept. Any other begins anew, with the whole log
of the survivor that has the newest. What may be lost by that is said of each group.

A group of which no survivor has a whole log is named with its slots and left as it
is. With --take-damaged it begins anew with what can be read in front of the damage,
and with --drop-lost, if nothing can be read, without a key.

The plan is JSON with a checksum, on standard output, or in --out, and then a table
says what is in it.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "take-damaged", Usage: "let groups of which only damaged logs are left begin anew, with what stands in front of the damage"},
			&cli.BoolFlag{Name: "drop-lost", Usage: "let groups of which nothing is left begin anew, empty"},
			&cli.StringFlag{Name: "out", Usage: "write the new `FILE`"},
		},
		Action: con.action(recoverPlan),
	})
}

func recoverApplyCommand(con *console) *cli.Command {
	return localVerb(cli.Command{
		Name: "apply", Usage: "carry out a plan in the data directory of one survivor", ArgsUsage: "PLAN", Description: recoverOrder + `

Shows the plan and what it changes here, and with --yes does it. It can't be undone:
keep a copy of the directory. Cut short, by a crash or for want of room, it is called
again, and the node does not start before it is done. Where the plan was applied
before, nothing happens. Every survivor needs the same plan: nodes with different
plans, and those that the plan takes for gone, refuse each other.

With -o json: {"plan":…,"cluster_id":…,"node":…,"applied":true}`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Value: dataDefault(), Usage: "the node's data directory `DIR`"},
			&cli.BoolFlag{Name: "yes", Usage: "do it"},
		},
		Action: con.action(recoverApply),
	})
}

// stopped takes the lock of a data directory, so that its node does not run meanwhile.
func stopped(dir string) (io.Closer, error) {
	if err := checkDataDir(dir); err != nil {
		return nil, err
	}
	lock, err := logstore.Lock(vfs.OS{}, dir)
	if errors.Is(err, logstore.ErrInUse) {
		return nil, fmt.Errorf("%s: its node runs: stop it first", dir)
	}
	return lock, err
}

func recoverInspect(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	dir := c.String("data")
	lock, err := stopped(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	r, err := rescue.Inspect(localDisk, dir)
	if err != nil {
		return noLog(dir, err)
	}
	b, err := r.Encode()
	if err != nil {
		return err
	}
	if shown, err := con.fileOut(c, b, asJSON); err != nil || shown {
		return err
	}
	return printReport(con, r)
}

// fileOut writes b to --out, and to standard output if there is no --out or JSON is
// wanted. It reports whether standard output has it.
func (con *console) fileOut(c *cli.Context, b []byte, asJSON bool) (shown bool, err error) {
	if name := c.String("out"); name != "" {
		// Never over another: a plan that was applied somewhere is needed everywhere.
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return false, fmt.Errorf("--out %s: there is such a file; name a new one", name)
		}
		if err != nil {
			return false, err
		}
		_, err = f.Write(b)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return false, fmt.Errorf("write %s: %w", name, err)
		}
		if !asJSON {
			return false, nil
		}
	}
	_, err = con.out.Write(b)
	return true, err
}

func printReport(con *console, r *rescue.Report) error {
	con.line("node %s of cluster %q (%s)", r.Node, r.Cluster, r.ClusterID)
	if r.Doubt != "" {
		con.line("in doubt: %s", r.Doubt)
	}
	if r.Unknown != "" {
		con.line("damaged: %s", r.Unknown)
	}
	con.line("")
	table := newTable(con.out, "GROUP", "REPLICA", "LAST", "COMMIT", "VOTERS", "KEYS", "DAMAGE")
	for i := range r.Groups {
		g := &r.Groups[i]
		table.row(number(g.Group), number(g.Replica), raft.FormatLogID(g.Group, raft.LogID(g.Last)), number(g.Commit),
			number(len(g.Membership.Voters)), number(g.Keys), orDash(g.Damage))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for i := range r.Groups {
		if g := &r.Groups[i]; g.Fence != "" {
			con.line("")
			con.line("group %d is fenced, its state is wrong: %s", g.Group, printable([]byte(g.Fence)))
		}
	}
	return nil
}

// reportsMax bounds the files of one plan: a cluster has at most a thousand nodes.
const reportsMax = 1000

func recoverPlan(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, reportsMax); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	var reports []*rescue.Report
	for _, name := range c.Args().Slice() {
		b, shown, err := con.readAll(name)
		if err != nil {
			return err
		}
		r, err := rescue.ReadReport(b)
		if err != nil {
			return fmt.Errorf("%s: %w", shown, err)
		}
		reports = append(reports, r)
	}
	p, err := rescue.Make(reports, rescue.Options{ID: randomID(), DropLost: c.Bool("drop-lost"), TakeDamaged: c.Bool("take-damaged")})
	if err != nil {
		return err
	}
	b, err := p.Encode()
	if err != nil {
		return err
	}
	if shown, err := con.fileOut(c, b, asJSON); err != nil || shown {
		return err
	}
	return printPlan(con.out, p)
}

// readAll reads a file that a command line names.
func (con *console) readAll(name string) (b []byte, shown string, err error) {
	in, shown, err := con.input(name)
	if err != nil {
		return nil, shown, err
	}
	defer in.Close()
	if b, err = io.ReadAll(io.LimitReader(in, rescue.FileBytesMax+1)); err != nil {
		err = fmt.Errorf("read %s: %w", shown, err)
	}
	return b, shown, err
}

// randomID returns a random number that is not 0.
func randomID() uint64 {
	var b [8]byte
	rand.Read(b[:]) // it never fails
	return max(1, binary.LittleEndian.Uint64(b[:]))
}

func printPlan(out *output, p *rescue.Plan) error {
	out.line("plan %s for cluster %q: %s, %d count as gone for good; the cluster's id becomes %s", p.ID, p.Cluster, surviving(len(p.Survivors)), len(p.Gone), p.To)
	out.line("")
	nodes := newTable(out, "NODE", "ADDR", "ID", "")
	for _, s := range p.Survivors {
		text := "survives"
		if s.Doubt != "" {
			text += ", and may be of an earlier moment: " + s.Doubt
		}
		nodes.row(s.Name, s.Addr, s.Node.String(), text)
	}
	for _, g := range p.Gone {
		nodes.row(g.Name, g.Addr, g.Node.String(), "is gone for good")
	}
	if err := nodes.Flush(); err != nil {
		return err
	}
	out.line("")
	groups := newTable(out, "GROUP", "", "FROM", "MAY BE LOST")
	for i := range p.Groups {
		g := &p.Groups[i]
		groups.row(number(g.Group), actionText(g), sourceText(p, g), g.Loss)
	}
	if err := groups.Flush(); err != nil {
		return err
	}
	if len(p.Nobody) > 0 {
		out.line("")
		out.line("lost: no log that is left has slots %s, though the groups that had them are there; what is asked of their keys fails until a person has decided", strings.Join(p.Nobody, ", "))
	}
	if len(p.Doubted) > 0 {
		out.line("")
		out.line("in doubt: slots %s are in a group that is kept, and by a newer move in another one; look at them with muster slot list before clients write", strings.Join(p.Doubted, ", "))
	}
	return nil
}

func surviving(n int) string {
	if n == 1 {
		return "1 node survives"
	}
	return fmt.Sprintf("%d nodes survive", n)
}

func actionText(g *rescue.GroupPlan) string {
	switch g.Action {
	case rescue.Keep:
		return "is kept"
	case rescue.Renew:
		return "begins anew"
	case rescue.Refound:
		return "begins anew, empty"
	}
	return "is left, without slots " + strings.Join(g.Slots, ", ")
}

func sourceText(p *rescue.Plan, g *rescue.GroupPlan) string {
	if s := p.Survivor(g.Source); s != nil {
		return s.Name + " " + raft.FormatLogID(g.Group, raft.LogID(g.End))
	}
	return "-"
}

type applyRow struct {
	Plan      string `json:"plan"`
	ClusterID string `json:"cluster_id"`
	Node      string `json:"node"`
	Applied   bool   `json:"applied"`
}

func recoverApply(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	b, shown, err := con.readAll(c.Args().First())
	if err != nil {
		return err
	}
	p, err := rescue.ReadPlan(b)
	if err != nil {
		return fmt.Errorf("%s: %w", shown, err)
	}
	dir := c.String("data")
	lock, err := stopped(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	standing, err := rescue.Look(localDisk, dir, p)
	if err != nil {
		return err
	}
	id, _, err := logstore.ReadIdentity(localDisk, dir)
	if err != nil {
		return err
	}
	node := rescue.ID(id.Node)
	if standing != rescue.Applied {
		out := con.out
		if asJSON {
			out = newOutput(con.err) // standard output is JSON or empty
		}
		if err := printPlanHere(out, p, node, dir); err != nil {
			return err
		}
	}
	if standing != rescue.Applied && !c.Bool("yes") {
		return withStatus(exitNotConfirmed, "nothing was changed: keep a copy of %s, and give --yes", dir)
	}
	if err := rescue.Apply(vfs.OS{}, dir, p, rescue.ApplyOptions{Mark: randomID(), Chance: randomID()}); err != nil {
		return err
	}
	if asJSON {
		return con.printJSON(applyRow{Plan: p.ID.String(), ClusterID: p.To.String(), Node: node.String(), Applied: true})
	}
	if standing == rescue.Applied {
		return con.line("plan %s was applied to %s before; start the node", p.ID, dir)
	}
	return con.line("plan %s is applied to %s; apply it on the other survivors, then start them", p.ID, dir)
}

// printPlanHere prints a plan, and what it changes in the directory of one survivor.
func printPlanHere(out *output, p *rescue.Plan, node rescue.ID, dir string) error {
	if err := printPlan(out, p); err != nil {
		return err
	}
	out.line("")
	out.line("here, in %s of %s:", dir, p.Survivor(node).Name)
	for _, text := range p.At(node) {
		out.line("  %s", text)
	}
	out.line("")
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}
