// Package flux declares the names of Flux that InfluxDB's query package mentions.
//
// InfluxDB's engine for InfluxQL runs no Flux, but one file of its package names types of it: two encoders for answers
// that are thrown away. The real module compiles a library in Rust. This one, put in its place by the replace of
// ../go.mod, has these names, and nothing behind them: nothing that answers InfluxQL calls any.
package flux

import "io"

// DialectType names a form of answers.
type DialectType string

// MultiResultEncoder writes answers.
type MultiResultEncoder interface {
	Encode(io.Writer, ResultIterator) (int64, error)
}

// ResultIterator goes through answers.
type ResultIterator interface {
	More() bool
	Next() Result
	Release()
	Err() error
}

// Result is one answer.
type Result interface{ Tables() TableIterator }

// TableIterator goes through the tables of an answer.
type TableIterator interface{ Do(func(Table) error) error }

// Table is one of them.
type Table interface {
	Do(func(ColReader) error) error
}

// ColReader reads columns.
type ColReader interface{ Len() int }
