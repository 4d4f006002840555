import java.util.Properties;
import java.util.concurrent.Future;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringSerializer;

/** Java's own producer, as others run it: BROKERS TOPIC COUNT CODEC... ; one batch of COUNT records for each codec. */
public class CompressedProducer {
    public static void main(String[] args) throws Exception {
        for (int codec = 3; codec < args.length; codec++) {
            Properties properties = new Properties();
            properties.put("bootstrap.servers", args[0]);
            properties.put("compression.type", args[codec]);
            properties.put("linger.ms", "1000");
            properties.put("batch.size", "1000000");
            try (KafkaProducer<String, String> producer = new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer())) {
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                for (int i = 0; i < Integer.parseInt(args[2]); i++) {
                    sent.add(producer.send(new ProducerRecord<>(args[1], "user", args[codec] + "-" + i + "-" + "padding ".repeat(i % 50))));
                }
                producer.flush();
                for (Future<RecordMetadata> one : sent) one.get();
            }
        }
    }
}
