package query

import "fmt"

// The limits of a query's text. The parser reads recursively and without a bound, so that they are checked before it
// sees anything.
const (
	// TextMax bounds the text of all statements of a query, in bytes.
	TextMax = 64 << 10
	// DepthMax bounds how deep parentheses stand in each other: of sub-queries, calls and expressions.
	DepthMax = 64
	// OperatorsMax bounds the operators of a text. A chain of them makes a tree that is as deep as the chain is long.
	OperatorsMax = 2048
	// StatementsMax bounds the statements of a text.
	StatementsMax = 256
	// RegexMax bounds the bytes of all regular expressions of a text.
	RegexMax = 4096
	// RepeatRegexMax bounds the bytes of those with a repetition like x{1000}, each of which may make a
	// thousand steps of one byte.
	RepeatRegexMax = 256
)

// The limits of what runs at a shard, and of what it gives back. They bound memory before it is spent.
const (
	// MeasurementsMax bounds the measurements of a [Request] and of an [Outline].
	MeasurementsMax = 1 << 16
	// ItemsMax bounds what a [Request] asks for: calls of functions, or the columns of a selection.
	ItemsMax = 1024
	// DimensionsMax bounds the tags by which a [Request] groups.
	DimensionsMax = 256
	// FieldsMax bounds the fields, and the tags, of a measurement in an [Outline].
	FieldsMax = 1 << 16
	// RequestMax bounds the bytes of a [Request].
	RequestMax = 1 << 20
	// AnswerMax bounds the bytes of an [Answer] and of an [Outline].
	AnswerMax = 256 << 20
	// conditionMax bounds the condition of a [Request], which has a kind behind each name.
	conditionMax = 8 * TextMax
	// transitionsMax bounds the changes of a time zone's offset: two in each year of the times that points may have,
	// and some for history.
	transitionsMax = 2048
)

// LimitError refuses a query that would cost more than it may.
type LimitError struct {
	What   string // that is limited, as in "series"
	Got    int64  // 0: more than Max, and nobody counted on
	Max    int64  // 0, with a Got of 0: the query has spent its [Budget], as What says
	Remedy string // what would be right
}

func (e *LimitError) Error() string {
	switch {
	case e.Got == 0 && e.Max == 0:
		return fmt.Sprintf("the query needs more %s; %s", e.What, e.Remedy)
	case e.Got == 0:
		return fmt.Sprintf("the query needs more than %d %s; %s", e.Max, e.What, e.Remedy)
	}
	return fmt.Sprintf("the query has %d %s, at most %d are allowed; %s", e.Got, e.What, e.Max, e.Remedy)
}

// UnsupportedError refuses what InfluxDB knows, and this package does not.
type UnsupportedError struct{ What string }

func (e *UnsupportedError) Error() string { return e.What + " is not supported" }

// RequestError refuses what can be read and is of no [Plan]: a condition, or a regular expression, that can't be parsed.
type RequestError struct {
	Field string
	Err   error
}

func (e *RequestError) Error() string { return "field " + e.Field + ": " + e.Err.Error() }

// Unwrap returns the error of the parser, or of a limit.
func (e *RequestError) Unwrap() error { return e.Err }

// Budget is what one query may still spend at one place. It is spent by [Describe], [Scan], [Budget.ReadAnswer] and
// [Plan.Rows], and is not to be shared by goroutines.
type Budget struct {
	// Memory is in bytes: what columns that are read, aggregates and rows take while they are in use.
	Memory int64
	// Series is how many series may be looked at.
	Series int64
	// Rows is how many rows the answer may have.
	Rows int64
	// Over is asked every [BudgetStep] values, and ends the query with its error. It may be nil.
	Over func() error

	steps int64
}

// BudgetStep is how many values are worked over between two questions to [Budget.Over]: a millisecond of work.
const BudgetStep = 1 << 16

// memory spends bytes.
func (b *Budget) memory(n int64) error {
	if b.Memory -= n; b.Memory < 0 {
		b.Memory = 0
		return overMemory()
	}
	return nil
}

func overMemory() error {
	return &LimitError{What: "bytes of memory than it was given", Remedy: "ask for a shorter time, fewer fields, or an aggregate"}
}

// series spends n series.
func (b *Budget) series(n int64) error {
	if b.Series -= n; b.Series < 0 {
		b.Series = 0
		return &LimitError{What: "series than it was given", Remedy: "name tags in WHERE, or a shorter time"}
	}
	return nil
}

// rows spends n rows.
func (b *Budget) rows(n int64) error {
	if b.Rows -= n; b.Rows < 0 {
		b.Rows = 0
		return &LimitError{What: "rows than it was given", Remedy: "ask for a longer interval, a shorter time, or a LIMIT"}
	}
	return nil
}

// Step counts n values that were worked over, and ends the query if [Budget.Over] says so.
func (b *Budget) Step(n int) error { return b.work(n) }

// work is Step.
func (b *Budget) work(n int) error {
	if b.steps += int64(n) + 1; b.steps < BudgetStep || b.Over == nil {
		return nil
	}
	b.steps = 0
	return b.Over()
}
