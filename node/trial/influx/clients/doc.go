// Package clients has InfluxDB's own clients talk to muster.
//
// It is a module of its own, so that what they need is no dependency of muster. The shell is Debian's (influxdb-client);
// telegraf and influxdb-client-go are Go modules. They talk to three nodes, and to the handler of node/influx
// with a store in memory behind it, which can be told to refuse. The tests look at what comes of requests, and not at their bytes.
//
// Start with store.go.
package clients
