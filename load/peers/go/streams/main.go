// Streamed chat completions, so many at a time, each asked for anew when it is over; a report as JSON.
//
// Usage: streams -url URL -at-once N -seconds S [-header "Name: value"]... < BODY
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"time"
)

// The word of the mock's deltas: whoever joins deltas has them counted all the same.
var word = []byte("shoal")

type headers http.Header

func (h headers) String() string { return "" }

func (h headers) Set(line string) error {
	name, value, _ := strings.Cut(line, ":")
	http.Header(h).Set(strings.TrimSpace(name), strings.TrimSpace(value))
	return nil
}

// Seen is what one of those who ask has seen. Times are milliseconds.
type seen struct {
	streams, failures, deltas, events int
	first, gaps                       []float64
	complaint                         string
}

type report struct {
	Seconds         float64  `json:"seconds"`
	Streams         int      `json:"streams"`
	Failures        int      `json:"failures"`
	Complaint       string   `json:"complaint"`
	DeltasPerSecond float64  `json:"deltas_per_second"`
	EventsPerSecond float64  `json:"events_per_second"`
	FirstP50        *float64 `json:"first_p50_ms"`
	FirstP99        *float64 `json:"first_p99_ms"`
	GapP50          *float64 `json:"gap_p50_ms"`
	GapP99          *float64 `json:"gap_p99_ms"`
}

type asker struct {
	client *http.Client
	url    string
	body   []byte
	header http.Header
	until  time.Time
}

func (a *asker) work() *seen {
	told := &seen{}
	for time.Now().Before(a.until) {
		if complaint := a.ask(told); complaint != "" {
			told.failures++
			told.complaint = complaint
			time.Sleep(10 * time.Millisecond) // whoever refuses at once is not asked in a tight loop
		}
	}
	return told
}

// Reads one stream to its end. Returns what was wrong with it. A stream that is cut when the time is over is no failure,
// and its deltas until then count.
func (a *asker) ask(told *seen) string {
	ctx, cancel := context.WithDeadline(context.Background(), a.until)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(a.body))
	if err != nil {
		return err.Error()
	}
	request.Header = a.header
	began := time.Now()
	response, err := a.client.Do(request)
	if err != nil {
		return unlessOver(ctx, err.Error())
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 500))
		return unlessOver(ctx, response.Status+" "+string(text))
	}
	if !told.read(response.Body, began) {
		return unlessOver(ctx, "a stream ended without [DONE]")
	}
	told.streams++
	return ""
}

func unlessOver(ctx context.Context, complaint string) string {
	if ctx.Err() != nil {
		return ""
	}
	return complaint
}

func (s *seen) read(body io.Reader, began time.Time) bool {
	lines := bufio.NewScanner(body)
	last, isDone := time.Time{}, false
	for lines.Scan() {
		line := lines.Bytes()
		if !bytes.HasPrefix(line, []byte("data:")) {
			continue
		}
		isDone = isDone || bytes.HasSuffix(line, []byte("[DONE]"))
		words := bytes.Count(line, word)
		if words == 0 {
			continue
		}
		now := time.Now()
		if last.IsZero() {
			s.first = append(s.first, milliseconds(now.Sub(began)))
		} else {
			s.gaps = append(s.gaps, milliseconds(now.Sub(last)))
		}
		last = now
		s.events++
		s.deltas += words
	}
	return isDone
}

func milliseconds(duration time.Duration) float64 {
	return float64(duration) / float64(time.Millisecond)
}

// Of sorted values; nil if there are none.
func percentile(values []float64, share float64) *float64 {
	if len(values) == 0 {
		return nil
	}
	return &values[min(len(values)-1, int(share*float64(len(values))))]
}

func summary(all []*seen, seconds float64) report {
	total := seen{}
	for _, one := range all {
		total.streams += one.streams
		total.failures += one.failures
		total.deltas += one.deltas
		total.events += one.events
		total.first = append(total.first, one.first...)
		total.gaps = append(total.gaps, one.gaps...)
		if one.complaint != "" {
			total.complaint = one.complaint
		}
	}
	sort.Float64s(total.first)
	sort.Float64s(total.gaps)
	return report{
		Seconds: seconds, Streams: total.streams, Failures: total.failures, Complaint: total.complaint,
		DeltasPerSecond: float64(total.deltas) / seconds, EventsPerSecond: float64(total.events) / seconds,
		FirstP50: percentile(total.first, 0.5), FirstP99: percentile(total.first, 0.99),
		GapP50: percentile(total.gaps, 0.5), GapP99: percentile(total.gaps, 0.99),
	}
}

func main() {
	url := flag.String("url", "", "where to ask")
	atOnce := flag.Int("at-once", 1, "how many streams at a time")
	seconds := flag.Float64("seconds", 4, "for how long")
	header := headers{"Content-Type": {"application/json"}}
	flag.Var(header, "header", "Name: value")
	flag.Parse()
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: *atOnce, DisableCompression: true}
	lasting := time.Duration(*seconds * float64(time.Second))
	one := asker{&http.Client{Transport: transport}, *url, body, http.Header(header), time.Now().Add(lasting)}
	all := make([]*seen, *atOnce)
	var group sync.WaitGroup
	for index := range all {
		group.Add(1)
		go func(index int) {
			defer group.Done()
			all[index] = one.work()
		}(index)
	}
	group.Wait()
	_ = json.NewEncoder(os.Stdout).Encode(summary(all, *seconds))
}
