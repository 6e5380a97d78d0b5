package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// clients makes clients of the stock library: one name server, one prefix, an instance name each.
type clients struct {
	namesrv   string
	prefix    string
	instances atomic.Int32
}

func (c *clients) topic(name string) string { return c.prefix + "-" + name }

// instance: two clients of one process share connection and client id unless their names differ.
func (c *clients) instance() string { return fmt.Sprintf("i%d", c.instances.Add(1)) }

// toQueue sends to the queue a message names, and round robin when it names none.
type toQueue struct{ rest producer.QueueSelector }

func (s toQueue) Select(m *primitive.Message, queues []*primitive.MessageQueue,
	last string) *primitive.MessageQueue {
	if m.Queue != nil {
		return m.Queue
	}
	return s.rest.Select(m, queues, last)
}

func (c *clients) producer(group string, retries int) (rocketmq.Producer, error) {
	p, err := rocketmq.NewProducer(
		producer.WithNameServer([]string{c.namesrv}),
		producer.WithGroupName(c.prefix+"-"+group),
		producer.WithInstanceName(c.instance()),
		producer.WithSendMsgTimeout(10*time.Second),
		producer.WithRetry(retries),
		producer.WithQueueSelector(toQueue{producer.NewRoundRobinQueueSelector()}),
	)
	if err != nil {
		return nil, err
	}
	return p, p.Start()
}

// queues asks the name server for a topic's queues.
func (c *clients) queues(topic string) ([]*primitive.MessageQueue, error) {
	a, err := admin.NewAdmin(admin.WithResolver(
		primitive.NewPassthroughResolver([]string{c.namesrv})))
	if err != nil {
		return nil, err
	}
	defer a.Close()
	return a.FetchPublishMessageQueues(context.Background(), topic)
}

// wish is what a push consumer is asked to do.
type wish struct {
	tags      string
	broadcast bool
	from      consumer.ConsumeFromWhere
	timestamp string
}

// push is a running push consumer and what it has received, by key.
type push struct {
	consumer rocketmq.PushConsumer
	lock     sync.Mutex
	byKey    map[string]*primitive.MessageExt
	received int
}

func (p *push) get(key string) *primitive.MessageExt {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.byKey[key]
}

func (p *push) count() int {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.received
}

func (p *push) has(keys []string) bool {
	for _, key := range keys {
		if p.get(key) == nil {
			return false
		}
	}
	return true
}

func (p *push) take(m *primitive.MessageExt) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.received++
	p.byKey[strings.TrimSpace(m.GetKeys())] = m
}

func (p *push) close() { _ = p.consumer.Shutdown() }

func (c *clients) push(group, topic string, w wish) (*push, error) {
	model := consumer.Clustering
	if w.broadcast {
		model = consumer.BroadCasting
	}
	options := []consumer.Option{
		consumer.WithNameServer([]string{c.namesrv}),
		consumer.WithGroupName(c.prefix + "-" + group),
		consumer.WithInstance(c.instance()),
		consumer.WithConsumerModel(model),
		consumer.WithConsumeFromWhere(w.from),
	}
	if w.timestamp != "" {
		options = append(options, consumer.WithConsumeTimestamp(w.timestamp))
	}
	inner, err := rocketmq.NewPushConsumer(options...)
	if err != nil {
		return nil, err
	}
	p := &push{consumer: inner, byKey: map[string]*primitive.MessageExt{}}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: w.tags}
	err = inner.Subscribe(topic, selector, func(_ context.Context,
		messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			p.take(m)
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return nil, err
	}
	return p, inner.Start()
}

// within waits until done says yes; false when the time is up first.
func within(limit time.Duration, done func() bool) bool {
	end := time.Now().Add(limit)
	for !done() {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
	return true
}
