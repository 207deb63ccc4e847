// A model's server that takes no time: OpenAI's chat completions, plain and streamed, always the same answer.
//
// Usage: mock -port PORT [-deltas 60] [-gap 0s]
//
// GET /calls tells how many completions were asked for, so that whoever measures knows what came from a cache.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Word is what each delta says; the client of the streams counts it.
const word = "shoal"

const (
	inputTokens = 20
	chunk       = `{"id":"chatcmpl-mock","object":"chat.completion.chunk","created":1700000000,"model":"mock",` +
		`"choices":[{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}]}`
	whole = `{"id":"chatcmpl-mock","object":"chat.completion","created":1700000000,"model":"mock",` +
		`"choices":[{"index":0,"message":{"role":"assistant","content":"%s","refusal":null},"logprobs":null,` +
		`"finish_reason":"stop"}],"usage":%s}`
	lastChunk = `{"id":"chatcmpl-mock","object":"chat.completion.chunk","created":1700000000,"model":"mock",` +
		`"choices":[],"usage":%s}`
	models = `{"object":"list","data":[{"id":"mock","object":"model","created":1700000000,"owned_by":"mock"}]}`
)

// Model answers. All that it says is made once.
type model struct {
	answer []byte
	deltas int
	gap    time.Duration
	calls  atomic.Int64
}

func newModel(tokens, deltas int, gap time.Duration) *model {
	text := strings.Repeat(word+" ", tokens)
	return &model{answer: []byte(fmt.Sprintf(whole, text, usage(tokens))), deltas: deltas, gap: gap}
}

func usage(tokens int) string {
	const form = `{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}`
	return fmt.Sprintf(form, inputTokens, tokens, inputTokens+tokens)
}

func (m *model) complete(writer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	m.calls.Add(1)
	if asksFor(body, "stream") {
		m.stream(writer, asksFor(body, "include_usage"))
		return
	}
	writer.Header().Set("Content-Type", "application/json")
	writer.Header().Set("Content-Length", strconv.Itoa(len(m.answer)))
	_, _ = writer.Write(m.answer)
}

// Whether the field is true, with or without a space after its colon: decoding the whole would take time.
func asksFor(body []byte, field string) bool {
	_, value, found := bytes.Cut(body, []byte(`"`+field+`":`))
	return found && bytes.HasPrefix(bytes.TrimLeft(value, " "), []byte("true"))
}

func (m *model) stream(writer http.ResponseWriter, withUsage bool) {
	writer.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	say := func(event string) {
		_, _ = io.WriteString(writer, "data: "+event+"\n\n")
		writer.(http.Flusher).Flush()
	}
	say(fmt.Sprintf(chunk, `{"role":"assistant","content":""}`, "null"))
	delta := fmt.Sprintf(chunk, `{"content":"`+word+` "}`, "null")
	for range make([]struct{}, m.deltas) {
		say(delta)
		time.Sleep(m.gap)
	}
	say(fmt.Sprintf(chunk, `{}`, `"stop"`))
	if withUsage {
		say(fmt.Sprintf(lastChunk, usage(m.deltas)))
	}
	say("[DONE]")
}

func main() {
	port := flag.Int("port", 0, "where to serve on 127.0.0.1")
	tokens := flag.Int("tokens", 100, "length of a whole answer")
	deltas := flag.Int("deltas", 60, "how many pieces a streamed answer has")
	gap := flag.Duration("gap", 0, "time after each piece")
	flag.Parse()
	served := newModel(*tokens, *deltas, *gap)
	http.HandleFunc("/v1/chat/completions", served.complete)
	http.HandleFunc("/v1/models", func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(writer, models)
	})
	http.HandleFunc("/calls", func(writer http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(writer, served.calls.Load())
	})
	log.Fatal(http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", *port), nil))
}
