package repl

import "time"

// Stage is a part of the way of a request through the host that answers it.
type Stage int

// The stages of a write and of a read. A write of which the leader's own disk, or another
// node, is slow shows in WriteLog or in WriteCommit: the two begin at the same moment and
// overlap, as the leader sends a command to the others while its own disk writes it.
const (
	WriteQueue  Stage = iota // from when it was read off its connection to when the core takes it into the log
	WriteLog                 // from then to when this node's disk has it
	WriteCommit              // from when the core took it to when a majority has it
	WriteApply               // from then to when it is applied, with all that was committed together with it
	WriteWhole               // from when it was read off its connection to when its answer is handed to that
	ReadQueue                // from when it was read off its connection to when the core is asked to confirm it
	ReadConfirm              // from then to when it is known that this replica may answer
	ReadAnswer               // from then to when it is answered, with all that were confirmed together with it
	ReadWhole                // from when it was read off its connection to when its answer is handed to that
	StageCount               // how many there are
)

// stagesWindow is half of the time that [Stages.Lately] is of: what a person who looks at a
// screen calls now.
const stagesWindow = 5 * time.Second

// Stages is how long requests took that this host answered, stage by stage. What was refused, and
// what the host asks itself, is in none. A long answer to a read, which is made beside the
// host, counts up to when it is handed to whoever makes it.
//
// All is counted by the goroutine that owns the host, in memory that nobody shares. What one read of
// a connection brought came at one moment, and what one turn hands to the core was proposed at
// one: neighbours that are alike are counted in one go, so most requests cost a comparison. The clock is looked at once for all
// that one turn answers, or for each answeredMax of them, and twice for the entries that are
// applied together. WriteLog and what begins with a turn go by the turn's clock.
type Stages struct {
	// Set once.
	clock func() time.Duration // that of Turn, as it is now; nil: as it was when the turn began
	host  *Host

	times     [StageCount]recent
	began     time.Duration // when the first of the entries at hand that are committed is applied
	arrived   alike         // requests that the core takes in this turn
	committed alike         // commands among these entries, since they were proposed
	writes    answered      // within this turn
	reads     answered      // within this turn
}

// alike is requests with which something began at the same moment, not counted yet.
type alike struct {
	since time.Duration
	n     uint64
}

// answeredMax is how many answers are counted as of one moment. It bounds by how much a
// request's whole time is too long: by what it takes to apply so many entries.
const answeredMax = 32

// answered is when requests came whose answers were handed to their connections just now.
type answered struct {
	runs [answeredMax]alike
	n    int // of runs
	held int // in them. Invariant: < answeredMax
	ran  int // how many there ever were, or since somebody began to count
}

func (s *Stages) init(h *Host) {
	s.host = h
	for i := range s.times {
		s.times[i].span = stagesWindow
	}
}

// now is the time as it is, where the owner of the host has said how to find that out.
func (s *Stages) now() time.Duration {
	if s.clock == nil {
		return s.host.now
	}
	return s.clock()
}

// took counts n requests for which a stage has lasted from a moment to another.
func (s *Stages) took(stage Stage, from, to time.Duration, n int) {
	if n > 0 {
		s.times[stage].add(to-from, uint64(n), to)
	}
}

// further takes one more request with which something began at a moment. Those that are not alike
// are counted: for them the stage lasted until to.
func (s *Stages) further(a *alike, stage Stage, since, to time.Duration) {
	if a.since != since {
		s.done(a, stage, to)
		a.since = since
	}
	a.n++
}

// done counts those that are left.
func (s *Stages) done(a *alike, stage Stage, to time.Duration) {
	if a.n > 0 {
		s.times[stage].add(to-a.since, a.n, to)
		a.n = 0
	}
}

// queued notes a request that has waited for its turn, unless it is the node's own. It reports
// whether it counts.
func (s *Stages) queued(stage Stage, r *Reply) bool {
	if r.At == 0 {
		return false
	}
	s.further(&s.arrived, stage, r.At, s.host.now)
	return true
}

// taken notes that the core has all of those.
func (s *Stages) taken(stage Stage) { s.done(&s.arrived, stage, s.host.now) }

// applies notes that committed entries are applied from now on, of which callers wait for some.
func (s *Stages) applies() { s.began, s.committed.n, s.writes.ran = s.now(), 0, 0 }

// applied notes that they are.
func (s *Stages) applied() {
	s.done(&s.committed, WriteCommit, s.began)
	s.took(WriteApply, s.began, s.now(), s.writes.ran)
}

// write notes that a caller's command is applied, and answered now.
func (s *Stages) write(w *waiter) {
	if w.reply.At == 0 {
		return
	}
	s.further(&s.committed, WriteCommit, w.proposed, s.began)
	s.note(&s.writes, WriteWhole, &w.reply)
}

// read notes that a read is answered now.
func (s *Stages) read(r *Reply) { s.note(&s.reads, ReadWhole, r) }

// note notes that a request is answered now, unless it is the node's own.
func (s *Stages) note(a *answered, whole Stage, r *Reply) {
	if r.At == 0 {
		return
	}
	a.ran++
	if a.n == 0 || a.runs[a.n-1].since != r.At {
		a.runs[a.n] = alike{since: r.At}
		a.n++
	}
	a.runs[a.n-1].n++
	if a.held++; a.held == answeredMax {
		s.count(a, whole, s.now())
	}
}

// count counts what was answered up to now.
func (s *Stages) count(a *answered, whole Stage, now time.Duration) {
	for i := range a.runs[:a.n] {
		s.done(&a.runs[i], whole, now)
	}
	a.n, a.held = 0, 0
}

// turned counts what the turn that ends has answered.
func (s *Stages) turned() {
	if s.writes.n+s.reads.n == 0 {
		return
	}
	now := s.now()
	s.count(&s.writes, WriteWhole, now)
	s.count(&s.reads, ReadWhole, now)
}

// Ever returns how long a stage has taken since the start, to the goroutine that owns the host.
func (s *Stages) Ever(stage Stage) Durations { return s.times[stage].all }

// Lately returns how long a stage took in the last 5 to 10 s, to the goroutine that owns
// the host.
func (s *Stages) Lately(stage Stage) Lately { return s.times[stage].lately(s.now()) }
