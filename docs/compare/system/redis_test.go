package system

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestRedisCommands(t *testing.T) {
	const want = "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$4\r\na\r\nb\r\n"
	if got := string(appendCommand(nil, "SET", []byte("key"), []byte("a\r\nb"))); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRedisAnswers(t *testing.T) {
	r := bufio.NewReader(strings.NewReader("+OK\r\n$3\r\na\r\n\r\n$-1\r\n-LOADING Redis is loading\r\n$0\r\n\r\n:1\r\n"))
	var value []byte
	for _, want := range []struct {
		found bool
		fails string
	}{{true, ""}, {true, ""}, {false, ""}, {false, "LOADING"}, {true, ""}} {
		got, err := readAnswer(r, &value)
		if err != nil || got.found != want.found || (got.err != nil) != (want.fails != "") ||
			got.err != nil && !strings.Contains(got.err.Error(), want.fails) {
			t.Errorf("got %+v (%v), want %+v", got, err, want)
		}
	}
	if _, err := readAnswer(r, &value); err == nil {
		t.Error("a number is taken for an answer")
	}
	if _, err := readAnswer(bufio.NewReader(strings.NewReader("$5\r\nab")), &value); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a torn answer: got %v", err)
	}
}
