package wire

import (
	"fmt"

	"muster/shardmap"
)

// QueriesAction is what a [Queries] wants. Numbers are for ever.
type QueriesAction uint8

const (
	QueriesList QueriesAction = 1 // those that the user may see
	QueriesRun  QueriesAction = 2 // to note a query that its client carries out, or that it goes on
	QueriesDone QueriesAction = 3 // to forget that one
	QueriesEnd  QueriesAction = 4 // to end a query, and all parts of it that the node works on
)

func (a QueriesAction) String() string {
	switch a {
	case QueriesList:
		return "list"
	case QueriesRun:
		return "run"
	case QueriesDone:
		return "done"
	case QueriesEnd:
		return "end"
	}
	return fmt.Sprintf("action %d", uint8(a))
}

// Limits of a [Queries].
const (
	// QueriesTextMax bounds what is told of the text of a query, in bytes.
	QueriesTextMax = 1024
	// QueriesMax bounds the queries of an answer.
	QueriesMax = 1024
)

// Queries asks a node about the queries of points that run on it: [action, query, database, text, memory]. A node forgets one that its
// client carries out unless it is told again within ten seconds. Since level 10 (shardmap.PointsLevel).
type Queries struct {
	Action   QueriesAction
	Query    uint64 // its number; 0 with QueriesList, up to [PointsQueryIDMax] else
	Database string // with QueriesRun, as is the rest: that of the request
	Text     string
	Memory   uint64 // bytes in use
}

func (m *Queries) fields(f *fields) {
	f.exactly(5, func() {
		number(f, "action", &m.Action)
		number(f, "query", &m.Query)
		f.text("database", &m.Database)
		f.text("text", &m.Text)
		number(f, "memory", &m.Memory)
	})
}

// Append appends the body.
func (m *Queries) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Queries) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	switch {
	case m.Action < QueriesList || m.Action > QueriesEnd:
		return fmt.Errorf("field action: %d; want %d to %d", m.Action, QueriesList, QueriesEnd)
	case (m.Action == QueriesList) != (m.Query == 0) || m.Query > PointsQueryIDMax:
		return fmt.Errorf("field query: %d with action %s; want 0 for a list, else 1 to %d", m.Query, m.Action, uint64(PointsQueryIDMax))
	case m.Action != QueriesRun && (m.Database != "" || m.Text != "" || m.Memory != 0):
		return fmt.Errorf("field text: with action %s; want it with %s alone", m.Action, QueriesRun)
	case len(m.Database) > shardmap.CatalogNameMax || len(m.Text) > QueriesTextMax:
		return fmt.Errorf("field text: %d bytes, and %d of the database; want %d and %d at most", len(m.Text), len(m.Database), QueriesTextMax, shardmap.CatalogNameMax)
	}
	return nil
}

// QueriesRow is a query that runs.
type QueriesRow struct {
	Query    uint64
	User     string // "": nobody in particular
	Database string
	Text     string // at most [QueriesTextMax] bytes of it
	AgeMs    uint64 // since it began
	Memory   uint64 // bytes in use, where its answers come together
}

// QueriesAnswer answers a [Queries]: [node, found, ended, [[query, user, database, text, age, memory], …]].
type QueriesAnswer struct {
	Node  string // the name of the node that answers
	Found bool   // the query runs there, and the user may end it
	Ended bool   // somebody has ended it
	Rows  []QueriesRow
}

func (m *QueriesAnswer) fields(f *fields) {
	f.atLeast(4, func() {
		f.text("node", &m.Node)
		f.flag("found", &m.Found)
		f.flag("ended", &m.Ended)
		list(f, "queries", &m.Rows, 6, func(f *fields, r *QueriesRow) {
			f.exactly(6, func() {
				number(f, "query", &r.Query)
				f.text("user", &r.User)
				f.text("database", &r.Database)
				f.text("text", &r.Text)
				number(f, "age", &r.AgeMs)
				number(f, "memory", &r.Memory)
			})
		})
	})
}

// Append appends the body.
func (m *QueriesAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *QueriesAnswer) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if len(m.Rows) > QueriesMax {
		return fmt.Errorf("field queries: %d of them; want %d at most", len(m.Rows), QueriesMax)
	}
	return nil
}
