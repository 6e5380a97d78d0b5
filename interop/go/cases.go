package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func (s *suite) remember(feature, key string, content []byte) {
	s.hashes[key] = hash(content)
	s.keysOf[feature] = append(s.keysOf[feature], key)
}

// attempt: a send that fails fails its own case later, not the whole run.
func (s *suite) attempt(feature string, what func() error) {
	if err := what(); err != nil {
		s.errors[feature] = err
	}
}

func (s *suite) produce() {
	s.attempt("sync", func() error { return s.sendEach("sync", 10) })
	s.attempt("async", s.sendAsync)
	s.attempt("one-way", s.sendOneWay)
	s.attempt("batch", s.sendBatch)
	bodies := map[string][]byte{
		"body-100B":  body("body-100B", 100),
		"body-2KiB":  body("body-2KiB", 2048),
		"body-4MiB":  body("body-4MiB", 4<<20-1024),
		"body-5MiB":  body("body-5MiB", 5<<20),
		"compressed": compressible("compressed", 100_000),
	}
	for feature, content := range bodies {
		s.attempt(feature, func() error {
			s.remember(feature, feature, content)
			return s.send(s.message("", feature, content))
		})
	}
	s.attempt("tags", func() error {
		for _, tag := range []string{"TagA", "TagB", "TagC"} {
			content := body(tag, 64)
			s.remember("tags", "tags-"+tag, content)
			if err := s.send(s.message(tag, "tags-"+tag, content)); err != nil {
				return err
			}
		}
		return nil
	})
	s.attempt("keys", func() error {
		content := body("keys", 64)
		s.remember("keys", "order-1 order-2", content)
		m := primitive.NewMessage(s.topic, content)
		return s.send(m.WithKeys([]string{"order-1", "order-2"}))
	})
	s.attempt("properties", func() error {
		content := body("properties", 64)
		s.remember("properties", "properties", content)
		m := s.message("", "properties", content)
		m.WithProperty("plain", "value with spaces")
		m.WithProperty("place", place)
		return s.send(m)
	})
}

func (s *suite) sendEach(feature string, count int) error {
	for i := 0; i < count; i++ {
		key := fmt.Sprintf("%s-%d", feature, i)
		content := body(key, 100)
		s.remember(feature, key, content)
		if err := s.send(s.message("", key, content)); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) sendAsync() error {
	done := make(chan error, 10)
	for i := 0; i < 10; i++ {
		key := fmt.Sprintf("async-%d", i)
		content := body(key, 200)
		s.remember("async", key, content)
		err := s.p.SendAsync(context.Background(),
			func(_ context.Context, result *primitive.SendResult, err error) {
				if err == nil && result.Status != primitive.SendOK {
					err = fmt.Errorf("status %v", result.Status)
				}
				done <- err
			}, s.message("", key, content))
		if err != nil {
			return err
		}
	}
	for i := 0; i < 10; i++ {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
		case <-time.After(10 * time.Second):
			return fmt.Errorf("%d of 10 callbacks came", i)
		}
	}
	return nil
}

func (s *suite) sendOneWay() error {
	for i := 0; i < 5; i++ {
		key := fmt.Sprintf("one-way-%d", i)
		content := body(key, 200)
		s.remember("one-way", key, content)
		if err := s.p.SendOneWay(context.Background(), s.message("", key, content)); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) sendBatch() error {
	var batch []*primitive.Message
	for i := 0; i < 20; i++ {
		key := fmt.Sprintf("batch-%d", i)
		content := body(key, 50+i)
		s.remember("batch", key, content)
		batch = append(batch, s.message("", key, content))
	}
	result, err := s.p.SendSync(context.Background(), batch...)
	if err != nil {
		return err
	}
	ids := len(strings.Split(result.OffsetMsgID, ","))
	return expect(result.Status == primitive.SendOK && ids == 20, "result %v", result)
}

func (s *suite) twoShards(cluster *push) error {
	queues, err := s.c.queues(s.topic)
	if err != nil {
		return err
	}
	routed, received := map[string]bool{}, map[string]bool{}
	var keys []string
	for _, queue := range queues {
		routed[queue.BrokerName] = true
		key := fmt.Sprintf("shards-%s-%d", queue.BrokerName, queue.QueueId)
		content := body(key, 100)
		s.remember("two-shards", key, content)
		m := s.message("", key, content)
		m.Queue = queue
		if err := s.send(m); err != nil {
			return err
		}
		keys = append(keys, key)
	}
	if len(routed) != 2 {
		return fmt.Errorf("the route names the brokers %v", routed)
	}
	within(limit, func() bool { return cluster.has(keys) })
	if err := s.arrived(cluster, keys); err != nil {
		return err
	}
	for _, key := range keys {
		received[cluster.get(key).Queue.BrokerName] = true
	}
	return expect(len(received) == 2, "received only from %v", received)
}

func (s *suite) pull(keys []string) error {
	found := map[string]*primitive.MessageExt{}
	err := pullAll(s.c, "pull", s.topic, 6*time.Second, func(m *primitive.MessageExt) bool {
		found[strings.TrimSpace(m.GetKeys())] = m
		for _, key := range keys {
			if found[key] == nil {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	return s.arrivedIn(func(key string) *primitive.MessageExt { return found[key] }, keys)
}

// pullAll hands every message of a topic to take until it says enough or nothing comes for quiet.
func pullAll(c *clients, group, topic string, quiet time.Duration,
	take func(*primitive.MessageExt) bool) error {
	p, err := rocketmq.NewPullConsumer(
		consumer.WithNameServer([]string{c.namesrv}),
		consumer.WithGroupName(c.prefix+"-"+group),
		consumer.WithInstance(c.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithPullBatchSize(32),
	)
	if err != nil {
		return err
	}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
	if err := p.Subscribe(topic, selector); err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}
	defer func() { _ = p.Shutdown() }()
	last := time.Now()
	for time.Since(last) < quiet {
		request, err := p.Poll(context.Background(), 500*time.Millisecond)
		if errors.Is(err, consumer.ErrNoNewMsg) {
			continue
		}
		if err != nil {
			return err
		}
		enough := false
		for _, m := range request.GetMsgList() {
			enough = take(m)
			last = time.Now()
		}
		p.ACK(context.Background(), request, consumer.ConsumeSuccess)
		if enough {
			return nil
		}
	}
	return nil
}

func (s *suite) toEach(topic, name string) ([]string, error) {
	queues, err := s.c.queues(topic)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, queue := range queues {
		key := fmt.Sprintf("%s-%s-%d", name, queue.BrokerName, queue.QueueId)
		m := primitive.NewMessage(topic, body(key, 32)).WithKeys([]string{key})
		m.Queue = queue
		if err := s.send(m); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (s *suite) rebalance() error {
	topic := s.c.topic("shared")
	first := wish{tags: "*", from: consumer.ConsumeFromFirstOffset}
	if err := s.send(primitive.NewMessage(topic, []byte("x"))); err != nil {
		return err
	}
	left, err := s.c.push("shared", topic, first)
	if err != nil {
		return err
	}
	defer left.close()
	right, err := s.c.push("shared", topic, first)
	if err != nil {
		return err
	}
	// Both hold queues, together all of them: seen when one round reaches both consumers.
	split, end := false, time.Now().Add(limit)
	for round := 0; !split && time.Now().Before(end); round++ {
		keys, err := s.toEach(topic, fmt.Sprintf("both-%d", round))
		if err != nil {
			return err
		}
		count := func(p *push) int {
			n := 0
			for _, key := range keys {
				if p.get(key) != nil {
					n++
				}
			}
			return n
		}
		if !within(5*time.Second, func() bool { return count(left)+count(right) >= len(keys) }) {
			return fmt.Errorf("two consumers left messages of %v unread", keys)
		}
		split = count(left) > 0 && count(right) > 0 && count(left)+count(right) == len(keys)
	}
	right.close()
	if !split {
		return errors.New("two consumers never shared the queues")
	}
	keys, err := s.toEach(topic, "one")
	if err != nil {
		return err
	}
	took := within(limit, func() bool { return left.has(keys) })
	return expect(took, "the one that stayed did not take over every queue")
}

// offsetsKill reads a part, has the broker killed and started, and must then get only the rest.
func (s *suite) offsetsKill() error {
	topic := s.c.topic("kept")
	first := wish{tags: "*", from: consumer.ConsumeFromFirstOffset}
	before, err := s.sendTo(topic, "before", 20)
	if err != nil {
		return err
	}
	reader, err := s.c.push("kept", topic, first)
	if err != nil {
		return err
	}
	read := within(limit, func() bool { return reader.has(before) })
	// The offset moves only after the handler of the last message has returned.
	time.Sleep(500 * time.Millisecond)
	reader.close()
	if !read {
		return errors.New("before the kill: not everything arrived")
	}
	if err := askForKill(); err != nil {
		return err
	}
	after, err := s.sendTo(topic, "after", 10)
	if err != nil {
		return err
	}
	again, err := s.c.push("kept", topic, first)
	if err != nil {
		return err
	}
	defer again.close()
	fresh, err := s.c.push("kept-fresh", topic, first)
	if err != nil {
		return err
	}
	defer fresh.close()
	within(limit, func() bool {
		return again.has(after) && fresh.has(after) && fresh.has(before)
	})
	return both(both(s.arrived(fresh, before), s.arrived(again, after)), none(again, before))
}

func (s *suite) sendTo(topic, name string, count int) ([]string, error) {
	var keys []string
	for i := 0; i < count; i++ {
		key := fmt.Sprintf("%s-%d", name, i)
		content := body(key, 100)
		s.hashes[key] = hash(content)
		m := primitive.NewMessage(topic, content).WithKeys([]string{key})
		if err := s.send(m); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}
