package influx

import (
	"context"

	"muster/repl/client/pointwriter"
	"muster/shardmap/points/line"
	"muster/shardmap/points/rows"
)

// Store has the points of a cluster, for whoever made a request. Any number of goroutines use it.
//
// An error is an [*Error], or one of the wire, where a client can do something about it. Any other one is answered with
// status 500.
type Store interface {
	// Write stores the points of a text, and reports what became of them: each one is in exactly one number of the
	// answer. With an error none of them is stored. Points that are sent again change nothing, so a client may always do
	// that. Neither the request nor its text is kept after Write returns.
	Write(ctx context.Context, q *WriteRequest) (Written, error)

	// Query carries out the statements of a text, and yields their results in the order that package rows wants. It stops
	// when yield returns false, or when ctx ends: then nobody reads.
	//
	// An error before the first result refuses all of it: a text that is no InfluxQL, a caller who may not ask. A
	// statement that can't be carried out, as one of a database that is not there, has a result with Err instead, and the
	// statements behind it too. An error after the first result ends the answer with a result that has it.
	Query(ctx context.Context, q *QueryRequest, yield func(rows.Result) bool) error
}

// WriteRequest is what a write asks for.
type WriteRequest struct {
	Database    string // never empty
	Policy      string // retention policy; "" is the database's default
	Consistency Consistency
	Precision   line.Precision
	Now         int64  // of points without a time, in nanoseconds since 1970 UTC
	Text        []byte // line protocol of at most [line.TextMax] bytes
}

// QueryRequest is what a query asks for.
type QueryRequest struct {
	Database string // of sources that name none; may be ""
	Policy   string // of sources that name none; "" is the database's default
	Text     string // InfluxQL, not empty, and no longer than a form, [FormMax]
	// Params are the values of $NAME in the text: string, bool, int64, float64, nil, and of these []any and
	// map[string]any.
	Params map[string]any
	// ChunkRows is how many rows a result has at most, for a client that wants chunks; 0: as many as the store likes.
	ChunkRows int
	// ReadOnly is set for GET, which a page can have a browser send: a statement that changes something is refused.
	ReadOnly bool
}

// Consistency is where points have to be before a write is answered (muster: level).
type Consistency = pointwriter.Level

// Written reports what became of a text.
type Written struct {
	Lines   line.Report // which lines are points, and which are not
	Stored  int         // points that are where the request wants them
	Hinted  int         // points that a node keeps, and writes as soon as their group can take them
	Dropped []Dropped   // points that can't be stored, one for each reason
	// Failed are points that are not, or not surely, where the request wants them. Why says what is in the way, and must
	// not promise that it is final.
	Failed int
	Why    string
}

// Dropped are points that can't be stored, for one reason.
type Dropped = pointwriter.Dropped
