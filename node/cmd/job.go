package cmd

import (
	"context"
	"fmt"
	"strconv"

	"github.com/urfave/cli/v2"

	"muster/node/overview"
	"muster/shardmap"
)

const jobForm = `{"id":…,"kind":…,"state":"running"|"paused"|"done"|"cancelled"|"failed",
"done":N,"total":N,"unit":"replicas"|"slots"|"keys","bytes":N,"bytes_total":N,"node":NAME,"group":N,"file":…,"why":…}`

func jobCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "job", Usage: "look at the jobs, which move replicas and slots, delete keys and take backups, and steer them"},
		verb(cli.Command{
			Name: "list", Usage: "list the jobs: all that are unfinished, and the last ones that are finished",
			Description: "A job survives its leader: its state is in the log of the meta group.\n\nWith -o json: [" + jobForm + "]; bytes, node, group, file and why are left out where there is none; file is that of a backup.\nOf a delete that was cancelled or has failed, done is a lower bound, which the table shows as \"at least N\".",
			Action:      con.action(jobList),
		}),
		verb(cli.Command{
			Name: "show", Usage: "show one job", ArgsUsage: "ID",
			Description: "With -o json: " + jobForm, Action: con.action(jobShow),
		}),
		verb(cli.Command{
			Name: "wait", Usage: "wait until a job has ended", ArgsUsage: "ID",
			Description: `Shows on standard error how far it is. Ends with status 1 if the job was cancelled or
failed. A node that dies meanwhile ends nothing: another one is asked.

With -o json its last row: ` + jobForm,
			Action: con.action(jobWait),
		}),
		verb(cli.Command{
			Name: "pause", Usage: "stop a job for now", ArgsUsage: "ID",
			Description: `What it has done stays; the step that is under way is finished. Of a job that moves slots
no further one is begun, and no copying goes on; a slot that neither group serves just then is
brought to one of them.

With -o json: ` + jobForm,
			Action: con.action(jobSet(shardmap.JobPaused)),
		}),
		verb(cli.Command{
			Name: "resume", Usage: "let a paused job run again", ArgsUsage: "ID",
			Description: "With -o json: " + jobForm, Action: con.action(jobSet(shardmap.JobRunning)),
		}),
		verb(cli.Command{
			Name: "cancel", Usage: "give a job up for good", ArgsUsage: "ID",
			Description: `What it has done stays. What it wanted is no longer wanted: a node that it drained may
have replicas again, a role that it gave is taken back. A job that moves slots ends once each
slot that is on its way is at one of its two groups; "muster job wait" waits for that.

With -o json: ` + jobForm,
			Action: con.action(jobSet(shardmap.JobCancelled)),
		}))
}

type jobRow = overview.JobRow

func jobRowOf(j *shardmap.Job) jobRow { return overview.JobRowOf(j) }

// endOf is what a command ends with that has waited for a job.
func endOf(j *shardmap.Job) error {
	if j.State != shardmap.JobCancelled && j.State != shardmap.JobFailed {
		return nil
	}
	r := jobRowOf(j)
	text := r.What() + " has failed"
	if j.State == shardmap.JobCancelled {
		text = r.What() + " was cancelled"
	}
	if j.Why != "" {
		text += ": " + j.Why
	}
	return withStatus(exitRefused, "%s; what it had done stays, muster status shows how things are", text)
}

// printJobs prints rows: in JSON one object a line.
func printJobs(s *errand, rows []jobRow) error {
	if !s.json {
		return jobTable(s, rows)
	}
	for _, r := range rows {
		if err := s.printJSON(r); err != nil {
			return err
		}
	}
	return nil
}

func jobTable(s *errand, rows []jobRow) error {
	if len(rows) == 0 {
		return nil
	}
	t := newTable(s.out, "ID", "KIND", "NODE", "GROUP", "STATE", "DONE", "TOTAL", "UNIT", "BYTES", "WHY")
	for _, r := range rows {
		group := "-"
		if r.Group != nil {
			group = number(*r.Group)
		}
		bytes := "-"
		if r.Bytes != nil {
			bytes = showBytes(*r.Bytes)
		}
		if r.BytesTotal != nil {
			bytes += " of " + showBytes(*r.BytesTotal)
		}
		t.row(r.ID, r.Kind, orDash(r.Node), group, r.State, r.DoneText(), number(r.Total), r.Unit, bytes, orDash(r.Why))
	}
	return t.Flush()
}

func jobList(con *console, c *cli.Context) error {
	s, err := con.openBare(c)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := s.table(c.Context)
	if err != nil {
		return err
	}
	rows := []jobRow{}
	for i := range t.Jobs {
		rows = append(rows, jobRowOf(&t.Jobs[i]))
	}
	if s.json {
		return s.printJSON(rows)
	}
	return jobTable(s, rows)
}

// openJob opens an errand about the job that the one argument names.
func (con *console) openJob(c *cli.Context) (*errand, uint64, error) {
	if err := wantArgs(c, 1, 1); err != nil {
		return nil, 0, err
	}
	id, err := strconv.ParseUint(c.Args().First(), 10, 64)
	if err != nil || id == 0 {
		return nil, 0, usagef("%s: job %s; want a number, as muster job list shows", c.Command.HelpName, shown([]byte(c.Args().First())))
	}
	s, err := con.open(c, 1)
	return s, id, err
}

// noJob is the error of a job that is not in the table.
func noJob(id uint64) error {
	return withStatus(exitNotFound, "job %d is not in the table: there was none, or it ended long ago; muster job list shows those that are", id)
}

// job returns a job as it is now.
func (s *errand) job(ctx context.Context, id uint64) (shardmap.Job, error) {
	t, err := s.table(ctx)
	if err != nil {
		return shardmap.Job{}, err
	}
	j, ok := t.Job(id)
	if !ok {
		return j, noJob(id)
	}
	return j, nil
}

func jobShow(con *console, c *cli.Context) error {
	s, id, err := con.openJob(c)
	if err != nil {
		return err
	}
	defer s.close()
	j, err := s.job(c.Context, id)
	if err != nil {
		return err
	}
	return printJobs(s, []jobRow{jobRowOf(&j)})
}

func jobWait(con *console, c *cli.Context) error {
	s, id, err := con.openJob(c)
	if err != nil {
		return err
	}
	defer s.close()
	// An id that nobody was given may come to be one. Nobody waits for that.
	if _, err := s.job(c.Context, id); err != nil {
		return err
	}
	j, err := s.follow(c.Context, id, 0)
	if err != nil {
		return err
	}
	if err := printJobs(s, []jobRow{jobRowOf(&j)}); err != nil {
		return err
	}
	return endOf(&j)
}

// jobSet makes the command that brings a job into a state.
func jobSet(state shardmap.JobState) func(*console, *cli.Context) error {
	return func(con *console, c *cli.Context) error {
		s, id, err := con.openJob(c)
		if err != nil {
			return err
		}
		defer s.close()
		command, err := shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: id, State: state, Why: askedFor(state)})
		if err != nil {
			return err
		}
		a, err := s.give(c.Context, &order{what: fmt.Sprintf("%s job %d", c.Command.Name, id), command: command}, 0)
		if err != nil {
			return err
		}
		j, err := s.jobAt(c.Context, id, a.Index)
		if err != nil {
			return err
		}
		return printJobs(s, []jobRow{jobRowOf(&j)})
	}
}

// askedFor is why a job is in a state that a person gave it.
func askedFor(state shardmap.JobState) string {
	if state == shardmap.JobCancelled {
		return "a person cancelled it"
	}
	return ""
}

// jobOnce returns a job that was just made, as soon as a node has it.
func (s *errand) jobOnce(ctx context.Context, id uint64) (shardmap.Job, error) {
	return s.jobAt(ctx, id, id)
}

// jobAt returns a job as it is in a table of index at least.
func (s *errand) jobAt(ctx context.Context, id, index uint64) (j shardmap.Job, err error) {
	there := false
	err = s.until(ctx, func(t *shardmap.Table) glance {
		if t.Index < index {
			return glance{}
		}
		j, there = t.Job(id)
		return glance{over: true}
	}, waitAsLongAsACall)
	switch {
	case err == errNotYet:
		return j, withStatus(exitNoResult, "job %d has begun, but the node that was asked does not know of it yet; muster job show %d", id, id)
	case err == nil && !there:
		err = noJob(id)
	}
	return j, err
}
