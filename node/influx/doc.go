// Package influx answers what clients of InfluxDB send over HTTP, as InfluxDB 1.8 answers it.
//
// It reads requests: parameters, forms, bodies, and how the answer is to be written. A [Store], which
// speaks for whoever made the request, decides what becomes of a text or of a query. The package listens to nothing, parses neither
// line protocol nor InfluxQL, and checks no password: node/web has found out who asks before a handler is called.
//
//	POST /write          line protocol
//	POST /api/v2/write   line protocol, with the parameters of InfluxDB 2
//	GET, POST /query     InfluxQL
//	POST /api/v2/query   Flux: refused
//	GET, HEAD /ping      for everybody
//	GET /health          for everybody
//
// docs/points.md lists where the answers differ from InfluxDB's.
//
// # Statuses decide what clients do
//
// Telegraf drops a batch that is answered with 4xx, and sends it again after 5xx unless the text has one of InfluxDB's
// phrases; influxdb-client-go sends again from 429 on. So whatever can be mended by sending it again is 503, and its
// text has none of those phrases.
//
// # Where to look
//
// Start with store.go, then handler.go; write.go and query.go have the two requests that matter, body.go and form.go
// read them, error.go has the statuses.
package influx
