import com.alibaba.dashscope.audio.omni.OmniRealtimeCallback;
import com.alibaba.dashscope.audio.omni.OmniRealtimeConfig;
import com.alibaba.dashscope.audio.omni.OmniRealtimeConversation;
import com.alibaba.dashscope.audio.omni.OmniRealtimeModality;
import com.alibaba.dashscope.audio.omni.OmniRealtimeParam;
import com.alibaba.dashscope.audio.omni.OmniRealtimeTranscriptionParam;
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonObject;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * A program that uses the conversation class of the vendor's Java SDK (2.22.5 and later).
 *
 * <pre>java DashscopeConversation URL FORMAT RATE_HZ MODE AUDIO...</pre>
 *
 * Arguments and output as in dashscope_conversation.py, without the nested formats.
 */
public final class DashscopeConversation {
    // Between appends: of 100 ms each, four times as fast as speech.
    private static final int PACE_MS = 25;
    private static final int CLOSE_WITHIN_S = 5;
    private static final Gson JSON = new GsonBuilder().serializeNulls().create();

    private static synchronized void report(Object... what) {
        System.out.println(JSON.toJson(what));
    }

    private static final class Reporter extends OmniRealtimeCallback {
        final CountDownLatch closed = new CountDownLatch(1);

        @Override
        public void onOpen() {
            report("opened");
        }

        @Override
        public void onEvent(JsonObject event) {
            report("event", event);
        }

        @Override
        public void onClose(int code, String reason) {
            report("closed", code, reason);
            closed.countDown();
        }
    }

    public static void main(String[] arguments) {
        int exitCode = 1;
        try {
            converse(arguments);
            exitCode = 0;
        } catch (Exception exception) {
            exception.printStackTrace();
        }
        // The SDK's own threads would keep the program for a minute.
        System.exit(exitCode);
    }

    private static void converse(String[] arguments) throws Exception {
        String url = arguments[0];
        String format = arguments[1];
        int rateHz = Integer.parseInt(arguments[2]);
        boolean manual = arguments[3].equals("manual");
        List<String> files = Arrays.asList(arguments).subList(4, arguments.length);

        Reporter reporter = new Reporter();
        OmniRealtimeParam param =
                OmniRealtimeParam.builder()
                        .model("qwen3-asr-flash-realtime")
                        .url(url)
                        .apikey(System.getenv("DASHSCOPE_API_KEY"))
                        .build();
        OmniRealtimeConversation conversation = new OmniRealtimeConversation(param, reporter);
        conversation.connect();

        OmniRealtimeTranscriptionParam transcription = new OmniRealtimeTranscriptionParam();
        transcription.setLanguage("en");
        transcription.setInputAudioFormat(format);
        transcription.setInputSampleRate(rateHz);
        conversation.updateSession(
                OmniRealtimeConfig.builder()
                        .modalities(List.of(OmniRealtimeModality.TEXT))
                        .enableTurnDetection(!manual)
                        .transcriptionConfig(format.equals("default") ? null : transcription)
                        .build());

        for (String file : files) {
            for (String append : Files.readAllLines(Path.of(file))) {
                conversation.appendAudio(append);
                Thread.sleep(PACE_MS);
            }
            if (manual) {
                conversation.commit();
            }
        }
        conversation.endSession();
        if (reporter.closed.await(CLOSE_WITHIN_S, TimeUnit.SECONDS)) {
            report("done");
        }
    }
}
