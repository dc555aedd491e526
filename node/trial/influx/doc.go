// Package influx holds answers to those of InfluxDB.
//
// It is a module of its own, so that InfluxDB's engine, and what it needs, are no dependency of muster. It
// makes points and queries from seeds, puts the queries to InfluxDB's engine for InfluxQL in this process, and
// compares what another one answers. It runs no server, and tests neither writing nor HTTP.
//
// An [Oracle] is InfluxDB with the points of a [Data]. Its [Oracle.Judge] puts a [Query] to it and to an [Answerer],
// and tells whether the answers are equal, differ in one of the kinds that are known, or differ. Floats that are
// sums may differ by a stated bound, for the order of summation is free; all else is equal to the last bit.
//
// The module noflux stands in for Flux, InfluxDB's other language, which InfluxQL does not need.
//
// Start with judge.go; data.go and queries.go are what is asked, engine.go is InfluxDB.
package influx
