package node

// What a person is told to do, where status, which one node answers, and doctor,
// which asks them all, find the same. None of it destroys anything.
const (
	// RemedyStart is for a node that does not run.
	RemedyStart = "start it again with the same command as before"
	// RemedyReplaced is for a node whose directory was emptied or replaced.
	RemedyReplaced = "stop what runs there, put the data directory back as it was when the node last stopped, and start it; an empty one can't replace it in this version"
	// RemedyReport is for what must not be, and nobody can mend on the spot.
	RemedyReport = "keep the data directory and report it"
)
