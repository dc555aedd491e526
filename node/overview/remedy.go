package overview

import (
	"fmt"
	"time"

	"muster/repl/wire"
)

// Remedies of problems that both status, which one node answers, and doctor, which asks all
// nodes, can find. None of them destroys anything.
const (
	// RemedyStart is for a node that does not run.
	RemedyStart = "start it again with the same command as before"
	// RemedyReplaced is for a node whose directory was emptied or replaced.
	RemedyReplaced = "stop what runs there, put the data directory back as it was when the node last stopped, and start it; if nobody has it, take the node off the list with muster node remove NODE --force, " +
		"and add the host as a new one: muster serve --standby with an empty directory, then muster node add HOST:PORT"
	// RemedyReport is for what must never happen, and nobody can mend on the spot.
	RemedyReport = "keep the data directory and report it"
)

// StuckJob is the problem with a job that stands still, for status and for doctor.
func StuckJob(j *wire.DoctorJob) wire.Problem {
	stood := time.Duration(j.StoodMs) * time.Millisecond
	return wire.Problem{What: fmt.Sprintf("%s is stuck: for %s %s", j.Name, stood.Round(time.Second), j.Why), Remedy: j.Remedy}
}
