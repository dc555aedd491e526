package cmd

import (
	"context"
	"fmt"
	"time"

	"muster/shardmap"
)

// follow waits until a job has ended, and shows meanwhile how far it is. bytes is what
// its plan said that new replicas are sent; 0 if that is not known.
func (s *errand) follow(ctx context.Context, id, bytes uint64) (j shardmap.Job, err error) {
	p := &progress{console: s.console, bytes: bytes}
	defer p.end()
	return followJob(ctx, &tables{ask: s.client.Table}, s.timeout, id, p)
}

func followJob(ctx context.Context, from *tables, timeout time.Duration, id uint64, p *progress) (j shardmap.Job, err error) {
	seen := false
	err = waitUntil(ctx, from, timeout, func(t *shardmap.Table) glance {
		now, ok := t.Job(id)
		switch {
		case !ok && (seen || t.Index >= id):
			// It has ended, and so many after it that it is forgotten.
			seen = false
			return glance{over: true}
		case !ok:
			return glance{} // this node does not know of it yet
		}
		g := glance{over: now.State.Finished(), news: !seen || !now.Equal(&j)}
		seen, j = true, now
		p.show(&j)
		return g
	}, waitForever)
	switch {
	case ctx.Err() != nil:
		return j, withStatus(exitNoResult, "job %d goes on without this command; muster job wait %d waits for it again", id, id)
	case err != nil:
		return j, fmt.Errorf("job %d goes on, but no node answers here; muster job wait %d waits for it again: %w", id, id, err)
	case !seen:
		return j, noJob(id)
	}
	return j, nil
}

// progress shows on standard error how far a job is: on a terminal in one line that is
// drawn anew, elsewhere in a line for each change, one a second at most.
type progress struct {
	*console
	bytes uint64 // that new replicas are sent by the plan; 0: not known
	drawn bool
	line  string // the last one
	state shardmap.JobState
	at    time.Time // when that was
}

const (
	// progressPause lies between two lines of progress, where lines stay.
	progressPause = time.Second
	// screenColumns is how wide a line may be that is drawn anew: one that wraps stays.
	screenColumns = 79
)

func (p *progress) show(j *shardmap.Job) {
	line := progressLine(j, p.bytes)
	switch {
	case line == p.line:
		return
	case p.watched:
		p.redraw(firstColumns(plain(line), screenColumns))
		p.drawn = true
	case j.State == p.state && time.Since(p.at) < progressPause:
		return
	default:
		p.sayf("%s", line)
	}
	p.line, p.state, p.at = line, j.State, time.Now()
}

// end leaves the last line as it is.
func (p *progress) end() {
	if p.drawn {
		p.tell("", "", "\n")
	}
}

// progressLine is how far a job is, for a person.
func progressLine(j *shardmap.Job, bytes uint64) string {
	r := jobRowOf(j)
	done, total := j.Done, j.Total
	if j.BytesTotal > 0 {
		done, total = j.Bytes, j.BytesTotal // slots differ in size
	}
	line := fmt.Sprintf("%s %s %s of %d %s", r.What(), bar(uint64(done), uint64(total)), r.DoneText(), j.Total, r.Unit)
	switch {
	case r.BytesTotal != nil && *r.BytesTotal > 0:
		line += fmt.Sprintf(", %s of %s", showBytes(*r.Bytes), showBytes(*r.BytesTotal))
	case r.Bytes == nil && bytes > 0 && j.Total > 0:
		// Replicas differ in size, and what one has been sent is known only to its leader.
		part := uint64(float64(bytes) * float64(min(j.Done, j.Total)) / float64(j.Total))
		line += fmt.Sprintf(", about %s of %s", showBytes(part), showBytes(bytes))
	}
	if j.State != shardmap.JobRunning {
		line += ", " + j.State.String()
	}
	if j.State == shardmap.JobPaused {
		line += ": muster job resume " + r.ID
	}
	if r.Why != "" {
		line += ": " + r.Why
	}
	return line
}

// firstColumns is the beginning of s, which is plain, that takes n columns at most.
func firstColumns(s string, n int) string {
	for i, r := range s {
		if n -= columnsOf(string(r)); n < 0 {
			return s[:i]
		}
	}
	return s
}
