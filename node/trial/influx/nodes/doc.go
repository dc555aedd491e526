// Package nodes holds answers of real nodes to those of InfluxDB's engine.
//
// It has tests alone: three nodes as processes, whose shards have heads and files, get the points of package
// muster/node/trial/influx over HTTP, and are asked the same queries. Debian's influxd, where it is installed, says what
// Grafana's requests are answered with, and what its shell shows.
package nodes
