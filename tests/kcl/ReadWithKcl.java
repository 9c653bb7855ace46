// Reads a stream with the KCL until so many user records came, and prints one a line:
// shard, sequence number, sub-sequence number, data in hex. The last one is its checkpoint.
//
//     java -Daws.cborEnabled=false -cp 'build/kcl/*' tests/kcl/ReadWithKcl.java ENDPOINT STREAM APPLICATION RECORDS

import java.net.URI;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.auth.credentials.*;
import software.amazon.awssdk.awscore.client.builder.AwsClientBuilder;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.*;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.lifecycle.events.*;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.*;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

public class ReadWithKcl {
    static int left;
    static final CountDownLatch enough = new CountDownLatch(1);

    static class Reader implements ShardRecordProcessor {
        String shard;
        boolean leftSome;

        public void initialize(InitializationInput input) {
            shard = input.shardId();
        }

        public void processRecords(ProcessRecordsInput input) {
            synchronized (ReadWithKcl.class) {
                for (KinesisClientRecord record : input.records()) {
                    leftSome |= left == 0;
                    if (left == 0) return;
                    ByteBuffer data = record.data().duplicate();
                    byte[] bytes = new byte[data.remaining()];
                    data.get(bytes);
                    try {
                        input.checkpointer().checkpoint(record.sequenceNumber(), record.subSequenceNumber());
                    } catch (Exception error) {
                        throw new RuntimeException(error);
                    }
                    System.out.println(shard + " " + record.sequenceNumber() + " " + record.subSequenceNumber() + " "
                            + HexFormat.of().formatHex(bytes));
                    if (--left == 0) enough.countDown();
                }
            }
        }

        public void leaseLost(LeaseLostInput input) {}

        public void shardEnded(ShardEndedInput input) {
            if (leftSome) return; // the end is not reached
            try {
                input.checkpointer().checkpoint();
            } catch (Exception error) {
                throw new RuntimeException(error);
            }
        }

        public void shutdownRequested(ShutdownRequestedInput input) {}
    }

    static <C, B extends AwsClientBuilder<B, C>> B at(B builder, String endpoint) {
        return builder.region(Region.US_EAST_1)
                .endpointOverride(URI.create(endpoint))
                .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("local", "local")));
    }

    public static void main(String[] arguments) throws Exception {
        String endpoint = arguments[0], leases = arguments[1], stream = arguments[2], application = arguments[3];
        left = Integer.parseInt(arguments[4]);
        KinesisAsyncClient kinesis = at(KinesisAsyncClient.builder(), endpoint)
                .httpClientBuilder(NettyNioAsyncHttpClient.builder().protocol(Protocol.HTTP1_1))
                .build();
        DynamoDbAsyncClient dynamodb = at(DynamoDbAsyncClient.builder(), leases).build();
        CloudWatchAsyncClient cloudwatch = at(CloudWatchAsyncClient.builder(), leases).build();
        ShardRecordProcessorFactory readers = Reader::new;
        ConfigsBuilder configs =
                new ConfigsBuilder(stream, application, kinesis, dynamodb, cloudwatch, "kcl-worker", readers);
        Scheduler scheduler = new Scheduler(
                configs.checkpointConfig(),
                configs.coordinatorConfig().parentShardPollIntervalMillis(500).shardConsumerDispatchPollIntervalMillis(100),
                configs.leaseManagementConfig()
                        .failoverTimeMillis(3000)
                        .shardSyncIntervalMillis(1000)
                        .leasesRecoveryAuditorExecutionFrequencyMillis(2000)
                        .initialPositionInStream(InitialPositionInStreamExtended.newInitialPosition(
                                InitialPositionInStream.TRIM_HORIZON)),
                configs.lifecycleConfig(),
                configs.metricsConfig().metricsFactory(new NullMetricsFactory()),
                configs.processorConfig(),
                configs.retrievalConfig()
                        .retrievalSpecificConfig(
                                new PollingConfig(stream, kinesis).idleTimeBetweenReadsInMillis(200).maxRecords(1000))
                        .initialPositionInStreamExtended(InitialPositionInStreamExtended.newInitialPosition(
                                InitialPositionInStream.TRIM_HORIZON)));
        Thread running = new Thread(scheduler);
        running.setDaemon(true);
        running.start();
        boolean came = left == 0 || enough.await(100, TimeUnit.SECONDS);
        boolean stopped = scheduler.startGracefulShutdown().get(20, TimeUnit.SECONDS);
        System.err.println("came " + came + ", stopped " + stopped);
        System.exit(came ? 0 : 1);
    }
}
