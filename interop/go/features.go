package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

const (
	limit = 20 * time.Second
	place = "Zürich – 東京 – naïve ☃"
)

// suite runs the features: consumers start first, then every kind of send, then the consumers
// that begin at a chosen place, then the case that needs a broker killed.
type suite struct {
	c      *clients
	p      rocketmq.Producer
	topic  string
	wanted map[string]bool
	hashes map[string]string
	keysOf map[string][]string
	errors map[string]error
	failed int
}

func features(c *clients, wanted []string) (int, error) {
	p, err := c.producer("p", 2)
	if err != nil {
		return 2, err
	}
	s := &suite{c: c, p: p, topic: c.topic("main"), wanted: map[string]bool{},
		hashes: map[string]string{}, keysOf: map[string][]string{}, errors: map[string]error{}}
	for _, feature := range wanted {
		s.wanted[feature] = true
	}
	if len(wanted) > 1 || wanted[0] != "offsets-kill" {
		if err := s.mainTopic(); err != nil {
			return 2, err
		}
	}
	s.check("offsets-kill", s.offsetsKill)
	_ = p.Shutdown()
	if s.failed > 0 {
		return 1, nil
	}
	return 0, nil
}

func (s *suite) mainTopic() error {
	if err := s.send(s.message("", "first", body("first", 10))); err != nil {
		return err
	}
	first := wish{tags: "*", from: consumer.ConsumeFromFirstOffset}
	wide := wish{tags: "*", from: consumer.ConsumeFromLastOffset, broadcast: true}
	cluster, err := s.c.push("cluster", s.topic, first)
	if err != nil {
		return err
	}
	tags, err := s.c.push("tags", s.topic,
		wish{tags: "TagA || TagB", from: consumer.ConsumeFromFirstOffset})
	if err != nil {
		return err
	}
	left, err := s.c.push("broadcast", s.topic, wide)
	if err != nil {
		return err
	}
	right, err := s.c.push("broadcast", s.topic, wide)
	if err != nil {
		return err
	}
	probes, err := s.probe(cluster, left, right)
	if err != nil {
		return err
	}
	s.produce()
	middle := crossSecond()
	s.attempt("late", func() error { return s.sendEach("late", 12) })
	var keys []string
	for _, of := range s.keysOf {
		keys = append(keys, of...)
	}
	within(limit, func() bool {
		return cluster.has(keys) && left.has(keys) && right.has(keys) &&
			tags.has(s.keysOf["tags"][:2])
	})
	s.arrivals(cluster, keys, 1+probes)
	s.check("tags", func() error {
		if err := s.arrived(tags, s.keysOf["tags"][:2]); err != nil {
			return err
		}
		return expect(tags.count() == 2, "the filter let through %d messages", tags.count())
	})
	s.check("push-broadcast", func() error {
		return both(s.arrived(left, keys), s.arrived(right, keys))
	})
	s.check("two-shards", func() error { return s.twoShards(cluster) })
	for _, p := range []*push{cluster, tags, left, right} {
		p.close()
	}
	if err := s.startingPlaces(keys, middle); err != nil {
		return err
	}
	s.check("rebalance", s.rebalance)
	return nil
}

func (s *suite) arrivals(cluster *push, keys []string, others int) {
	for _, feature := range []string{"sync", "async", "one-way", "batch", "body-100B",
		"body-2KiB", "body-4MiB", "body-5MiB", "compressed", "keys"} {
		s.check(feature, func() error { return s.arrived(cluster, s.keysOf[feature]) })
	}
	s.check("properties", func() error {
		if err := s.arrived(cluster, s.keysOf["properties"]); err != nil {
			return err
		}
		m := cluster.get("properties")
		return expect(m.GetProperty("place") == place &&
			m.GetProperty("plain") == "value with spaces", "received %v", m.GetProperties())
	})
	s.check("push-cluster", func() error {
		if err := s.arrived(cluster, keys); err != nil {
			return err
		}
		return expect(cluster.count() == len(keys)+others, "received %d messages, sent %d",
			cluster.count(), len(keys)+others)
	})
}

func (s *suite) startingPlaces(keys []string, middle string) error {
	wishes := []wish{
		{tags: "*", from: consumer.ConsumeFromFirstOffset},
		{tags: "*", from: consumer.ConsumeFromLastOffset},
		{tags: "*", from: consumer.ConsumeFromLastOffset, broadcast: true},
		{tags: "*", from: consumer.ConsumeFromTimestamp, broadcast: true, timestamp: middle},
	}
	var started []*push
	for i, w := range wishes {
		p, err := s.c.push(fmt.Sprintf("from-%d", i), s.topic, w)
		if err != nil {
			return err
		}
		defer p.close()
		started = append(started, p)
	}
	s.check("pull", func() error { return s.pull(keys) })
	if _, err := s.probe(started[2]); err != nil {
		return err
	}
	late := s.keysOf["late"]
	within(limit, func() bool {
		return started[0].has(keys) && started[1].has(keys) && started[3].has(late)
	})
	s.check("from-first", func() error { return s.arrived(started[0], keys) })
	s.check("from-last", func() error {
		return both(none(started[2], keys), s.arrived(started[1], keys))
	})
	s.check("from-timestamp", func() error {
		return both(s.arrived(started[3], late), none(started[3], s.keysOf["sync"]))
	})
	return nil
}

// probe: a broadcast consumer starts at the end, so nothing counts before it is seen to receive.
func (s *suite) probe(consumers ...*push) (int, error) {
	queues, err := s.c.queues(s.topic)
	if err != nil {
		return 0, err
	}
	sent, end := 0, time.Now().Add(limit)
	for _, queue := range queues {
		heard := false
		for !heard && time.Now().Before(end) {
			key := fmt.Sprintf("probe%d", time.Now().UnixNano())
			m := s.message("", key, body(key, 16))
			m.Queue = queue
			if err := s.send(m); err != nil {
				return sent, err
			}
			sent++
			heard = within(300*time.Millisecond, func() bool {
				for _, p := range consumers {
					if p.get(key) == nil {
						return false
					}
				}
				return true
			})
		}
		if !heard {
			return sent, fmt.Errorf("a consumer never received from %v", queue)
		}
	}
	return sent, nil
}

// crossSecond: consume timestamps have whole seconds and this client reads them as UTC; leaves a
// clear second on both sides of the answer.
func crossSecond() string {
	second := time.Now().Truncate(time.Second).Add(time.Second)
	time.Sleep(time.Until(second) + 100*time.Millisecond)
	return second.UTC().Format("20060102150405")
}

func (s *suite) message(tag, key string, content []byte) *primitive.Message {
	m := primitive.NewMessage(s.topic, content).WithKeys([]string{key})
	if tag != "" {
		m.WithTag(tag)
	}
	return m
}

func (s *suite) send(m *primitive.Message) error {
	result, err := s.p.SendSync(context.Background(), m)
	if err != nil {
		return fmt.Errorf("to queue %v: %w", m.Queue, err)
	}
	return expect(result.Status == primitive.SendOK, "status %v", result.Status)
}

// check prints one line for a wanted feature; a failed send has failed its case before.
func (s *suite) check(feature string, what func() error) {
	if !s.wanted[feature] {
		return
	}
	err := s.errors[feature]
	if err != nil {
		err = fmt.Errorf("send: %w", err)
	} else {
		err = what()
	}
	if err == nil {
		fmt.Printf("CASE %s pass\n", feature)
		return
	}
	s.failed++
	fmt.Printf("CASE %s fail %s\n", feature, strings.Join(strings.Fields(err.Error()), " "))
}

func expect(holds bool, format string, values ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, values...)
}

func both(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

func none(p *push, keys []string) error {
	for _, key := range keys {
		if p.get(key) != nil {
			return fmt.Errorf("received %s, which lies before its start", key)
		}
	}
	return nil
}

func (s *suite) arrived(p *push, keys []string) error {
	return s.arrivedIn(p.get, keys)
}

func (s *suite) arrivedIn(get func(string) *primitive.MessageExt, keys []string) error {
	for _, key := range keys {
		m := get(key)
		if m == nil {
			return fmt.Errorf("no message %s", key)
		}
		if hash(m.Body) != s.hashes[key] {
			return fmt.Errorf("another body in %s, %d bytes", key, len(m.Body))
		}
	}
	return nil
}
