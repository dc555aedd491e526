package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"syscall"

	"muster/shardmap/registry"
)

const (
	grpcMethod = "/grpc.health.v1.Health/Check"
	// grpcServing is HealthCheckResponse.SERVING; the names of the others stand beside.
	grpcServing = 1
	// grpcAnswerMax bounds the answer, in bytes; two are usual.
	grpcAnswerMax = 1 << 10
	// grpcHead are the bytes before a message: whether it is compressed, and its length.
	grpcHead = 5
)

var grpcStatuses = []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

// checkGRPC calls the standard health service. The call is one HTTP/2 request whose body is
//
//	[0 u8, length u32, HealthCheckRequest{1: service}]
//
// and whose answer is [0 u8, length u32, HealthCheckResponse{1: status}], with the outcome of
// the call in trailers.
func checkGRPC(ctx context.Context, c *conns, spec *registry.Spec) (string, error) {
	protocols, scheme := new(http.Protocols), "http"
	if spec.TLS {
		protocols.SetHTTP2(true)
		scheme = "https"
	} else {
		protocols.SetUnencryptedHTTP2(true)
	}
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			// gRPC servers keep connections; they don't close them when a call is over.
			return c.dial(ctx, addr, abrupt)
		},
		TLSClientConfig:        tlsOf(spec, spec.Host),
		Protocols:              protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: webHeadMax,
	}
	u := url.URL{Scheme: scheme, Host: target(spec), Path: grpcMethod}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(grpcRequest(spec.Health)))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("Te", "trailers")
	request.Header.Set("User-Agent", "muster-check")
	answer, err := t.RoundTrip(request)
	if err != nil {
		return "", grpcError(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("HTTP %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, grpcAnswerMax+1))
	if err != nil {
		return "", grpcError(err)
	}
	if len(body) > grpcAnswerMax {
		return "", fmt.Errorf("an answer of more than %d bytes", grpcAnswerMax)
	}
	// A call without an answer has its outcome in the headers.
	outcome, message := answer.Trailer.Get("Grpc-Status"), answer.Trailer.Get("Grpc-Message")
	if outcome == "" {
		outcome, message = answer.Header.Get("Grpc-Status"), answer.Header.Get("Grpc-Message")
	}
	if outcome == "" {
		return "", errors.New("not gRPC: an answer without grpc-status")
	}
	if outcome != "0" {
		return "", fmt.Errorf("gRPC status %s: %s", outcome, message)
	}
	status, err := grpcStatus(body)
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("status %d", status)
	if status < uint64(len(grpcStatuses)) {
		name = grpcStatuses[status]
	}
	if status != grpcServing {
		return "", errors.New(name)
	}
	return name, nil
}

// grpcEnded matches what net/http says where a server ends a call, or its connection, with a code of
// HTTP/2.
var grpcEnded = regexp.MustCompile(`(?:GOAWAY.*ErrCode:|stream error:.*; )([A-Z0-9_]+)(?:$|,|; received from peer)`)

// grpcError words an error of a call that has no outcome.
func grpcError(err error) error {
	// Which of these it is depends on how much of the request is written, and read, before the
	// connection ends, and that on chance.
	what := "no answer in HTTP/2: the server speaks something else, or ends the connection"
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return errors.New(what)
	}
	if code := grpcEnded.FindStringSubmatch(err.Error()); code != nil {
		what = "the server ends the call, with the code " + code[1] + " of HTTP/2"
	}
	return otherwise(err, what)
}

func grpcRequest(service string) []byte {
	var message []byte
	if service != "" { // a field with its default is left out
		message = append(message, 1<<3|2)
		message = binary.AppendUvarint(message, uint64(len(service)))
		message = append(message, service...)
	}
	b := make([]byte, grpcHead, grpcHead+len(message))
	binary.BigEndian.PutUint32(b[1:], uint32(len(message)))
	return append(b, message...)
}

// grpcStatus reads the answer. It skips fields that it does not know, as protobuf requires.
func grpcStatus(b []byte) (status uint64, err error) {
	bad := errors.New("not a HealthCheckResponse")
	if len(b) < grpcHead || b[0] != 0 || uint64(binary.BigEndian.Uint32(b[1:])) != uint64(len(b)-grpcHead) {
		return 0, bad
	}
	for b = b[grpcHead:]; len(b) > 0; {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, bad
		}
		b = b[n:]
		var size uint64
		switch tag & 7 {
		case 0:
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return 0, bad
			}
			if tag>>3 == 1 {
				status = v
			}
			size = uint64(n)
		case 1:
			size = 8
		case 2:
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return 0, bad
			}
			b, size = b[n:], v
		case 5:
			size = 4
		default:
			return 0, bad
		}
		if size > uint64(len(b)) {
			return 0, bad
		}
		b = b[size:]
	}
	return status, nil
}
