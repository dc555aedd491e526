package logstore

import "fmt"

// formats are those of one kind of file that this build reads: from the oldest to
// the newest, which is the only one that it writes, save of the identity. So what is
// older is read once, and written anew in the course of things.
type formats struct{ oldest, newest uint32 }

// The kinds of files, and what becomes of one of an older format that is read.
// docs/storage.md has the same table; "How to change a format" in
// docs/architecture.md says what to do here.
var (
	// Each start writes the identity anew, before it opens the log; in the older format
	// as long as that has a place for all of it.
	//
	// The identity is read before anything else, so its format is that of the whole
	// directory: it rises with each format below and with each of the states in
	// snapshots (package shardmap). What can't be read is refused there, in one line,
	// before anything is touched.
	identityFormats = formats{oldest: IdentityFormatOldest, newest: IdentityFormat}
	// A segment stays as it is until the reclaimer has emptied it. A file that is used
	// again has a header of its own, of the newest format.
	segmentFormats = formats{oldest: 3, newest: 3}
	// The next snapshot of the replica takes its place.
	snapshotFormats = formats{oldest: 1, newest: 1}
	// Of another format it counts as if it were not there: it only helps against
	// damage, and the next clean stop writes it anew.
	stoppedFormats = formats{oldest: 1, newest: 1}
	// Each start makes it anew. Of a format that is not read it counts as a foreign
	// file, which puts the node in doubt: the older format must be read.
	witnessFormats = formats{oldest: 1, newest: 1}
	// Of another format it can't be read, and its replica counts as fenced: the state is
	// rebuilt, and the note written anew.
	fenceFormats = formats{oldest: 1, newest: 1}
)

func (f formats) String() string {
	if f.oldest == f.newest {
		return fmt.Sprintf("format %d", f.newest)
	}
	return fmt.Sprintf("formats %d to %d", f.oldest, f.newest)
}

// check returns an error unless found is one of f. It says in one line what was found
// and what to do; whoever gets it changes nothing.
func (f formats) check(found uint32) error {
	switch {
	case found > f.newest:
		return fmt.Errorf("%w: format %d, this one reads %s: start the newer muster", ErrNewerFormat, found, f)
	case found < f.oldest:
		return fmt.Errorf("%w: format %d, this one reads %s: export the keys with the muster that wrote it, and import them into a new cluster", ErrOlderFormat, found, f)
	}
	return nil
}
