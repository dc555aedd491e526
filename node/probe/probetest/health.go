package probetest

import (
	"encoding/binary"
	"io"
	"net/http"
	"sync/atomic"
)

// Health answers as the standard health service of gRPC does, for a server as a whole and for
// the services shop, sick and odd. The zero value serves.
type Health struct {
	notServing atomic.Bool
	asked      atomic.Int64
}

// Serve makes the server as a whole be well.
func (h *Health) Serve() { h.notServing.Store(false) }

// Refuse makes it be NOT_SERVING.
func (h *Health) Refuse() { h.notServing.Store(true) }

// Asked is how often it was asked.
func (h *Health) Asked() int64 { return h.asked.Load() }

// ServeHTTP answers one call, which is one request of HTTP/2.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.asked.Add(1)
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	body, _ := io.ReadAll(r.Body)
	if r.ProtoMajor != 2 || r.URL.Path != "/grpc.health.v1.Health/Check" || len(body) < 5 || int(binary.BigEndian.Uint32(body[1:])) != len(body)-5 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	serving, sick := []byte{0, 0, 0, 0, 2, 8, 1}, []byte{0, 0, 0, 0, 4, 8, 2, 0x10, 7} // with a field that is not known
	outcome := "0"
	switch service := string(body[5:]); {
	case service == "" && h.notServing.Load(), service == "\x0a\x04sick":
		_, _ = w.Write(sick)
	case service == "", service == "\x0a\x04shop":
		_, _ = w.Write(serving)
	case service == "\x0a\x03odd":
		_, _ = w.Write([]byte{0, 0, 0, 0, 9, 8, 1}) // shorter than it says
	default:
		outcome = "5"
		w.Header().Set("Grpc-Message", "unknown service")
	}
	w.Header().Set("Grpc-Status", outcome)
}
