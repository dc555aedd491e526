package shardmap

import "fmt"

// formats are those of one kind of state that this build reads: from the oldest to the
// newest, which is the only one that it writes, save that a table is written in the
// format of the cluster's level, and a state or a slot in the oldest format that has a place
// for all that is in it: what needs a newer one came with commands of a newer level, which
// all members understand by then. A state of an older format that is read
// is written anew with the replica's next snapshot. "How to change a format" in
// docs/architecture.md says what to do here.
type formats struct {
	what           string
	oldest, newest uint16
}

var (
	mapFormats   = formats{what: "state", oldest: 2, newest: 6}
	slotFormats  = formats{what: "snapshot of a slot", oldest: 2, newest: 4}
	tableFormats = formats{what: "table", oldest: 3, newest: 9}
)

func (f formats) String() string {
	if f.oldest == f.newest {
		return fmt.Sprint(f.newest)
	}
	return fmt.Sprintf("%d to %d", f.oldest, f.newest)
}

// check returns an error unless found is one of f: it wraps [ErrLevel] or [ErrOlder].
func (f formats) check(found uint16) error {
	switch {
	case found > f.newest:
		return fmt.Errorf("%s of format %d: %w; known is %s", f.what, found, ErrLevel, f)
	case found < f.oldest:
		return fmt.Errorf("%s of format %d: %w; known is %s", f.what, found, ErrOlder, f)
	}
	return nil
}
